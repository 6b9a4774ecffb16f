"""Score: one share of a table's partitions through the registered bundle, files to files."""

from kfp import dsl

from components.step import step


@step
def score(share: str, run_id: str, place: str, workers: int, plan: dsl.Input[dsl.Artifact]) -> str:
    from components.scoring.stages import score as stage
    from components.steps.failing import told

    with told():
        return stage(share, place, workers, plan.path)

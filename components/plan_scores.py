"""Plan scores: which version, which partitions of a table, and in how many shares."""

from kfp import dsl

from components.step import step


@step
def plan_scores(
    name: str,
    run_id: str,
    version: int,
    source: str,
    output: str,
    keep: str,
    explain: bool,
    top: int,
    shares: int,
    place: str,
    plan: dsl.Output[dsl.Artifact],
) -> list[str]:
    from components.scoring.stages import plan as stage
    from components.steps.failing import told

    with told():
        return stage(name, version, source, output, keep, explain, top, shares, place, plan.path)

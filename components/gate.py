"""Gate: floors, slices, and the champion scored on the same rows; the verdict is ``accepted`` or ``refused``."""

from kfp import dsl

from components.step import step


@step
def gate(
    name: str,
    run_id: str,
    gates: str,
    slices: str,
    place: str,
    evaluation_id: str,
    evaluation: dsl.Input[dsl.Artifact],
    holdout: dsl.Input[dsl.Dataset],
    bundle: dsl.Input[dsl.Model],
    decision: dsl.Output[dsl.Artifact],
    champion: dsl.Output[dsl.Metrics],
) -> str:
    from components.judging import drawn
    from components.judging.stages import gate as stage
    from components.steps.failing import told

    with told():
        verdict = stage(name, gates, slices, place, evaluation.path, holdout.path, bundle.path, decision.path)
        drawn.shown(champion, drawn.scalars(f"{decision.path}/champion.json"))
        return verdict

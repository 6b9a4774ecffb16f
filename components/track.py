"""Track: everything about the run into MLflow, and its report."""

from kfp import dsl

from components.step import step


@step
def track(
    name: str,
    run_id: str,
    place: str,
    settings: str,
    command: str,
    digest: str,
    verdict: str,
    snapshot: dsl.Input[dsl.Dataset],
    quarantine: dsl.Input[dsl.Artifact],
    trials: dsl.Input[dsl.Artifact],
    bundle: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> str:
    from components.recording.run_records import track as stage
    from components.steps.failing import spared

    with spared(f"the record of run {run_id} is incomplete", "its figures are in the logs"):
        return stage(
            name,
            run_id,
            place,
            settings,
            command,
            report.path,
            snapshot=snapshot.path,
            quarantine=quarantine.path,
            trials=trials.path,
            bundle=bundle.path,
            evaluation=evaluation.path,
            decision=decision.path,
        )
    return ""

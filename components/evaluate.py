"""Evaluate: the bundle's predictions of holdout rows against the truth: metrics, slices, plots."""

from kfp import dsl

from components.step import step


@step
def evaluate(
    slices: str,
    key: str,
    code: str,
    split_id: str,
    digest: str,
    holdout: dsl.Input[dsl.Dataset],
    bundle: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    from components.judging import drawn
    from components.judging.stages import evaluate as stage
    from components.steps.failing import told

    with told():
        digest = stage(slices, key, holdout.path, bundle.path, evaluation.path)
        drawn.shown(metrics, drawn.scalars(f"{evaluation.path}/evaluation.json"))
        drawn.shown(classification, drawn.classes(f"{evaluation.path}/evaluation.json"))
        return digest

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
) -> str:
    from components.judging.stages import evaluate as stage
    from components.steps.failing import told

    with told():
        return stage(slices, key, holdout.path, bundle.path, evaluation.path)

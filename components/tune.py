"""Tune: the best parameters of the project's search space; the defaults when there is none."""

from kfp import dsl

from components.step import step


@step
def tune(
    model: str,
    features: str,
    search: str,
    policy: str,
    seed: int,
    code: str,
    contract_id: str,
    split_id: str,
    contract: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    trials: dsl.Output[dsl.Artifact],
) -> str:
    from components.modelling.stages import tune as stage
    from components.steps.failing import told

    with told():
        return stage(model, features, search, policy, contract.path, seed, train.path, trials.path)

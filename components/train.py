"""Train: one scikit-learn Pipeline from contract columns to prediction, written as a signed bundle."""

from kfp import dsl

from components.step import step


@step
def train(
    model: str,
    features: str,
    seed: int,
    code: str,
    contract_id: str,
    commit: str,
    key: str,
    snapshot_id: str,
    split_id: str,
    params: str,
    says: str,
    contract: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    holdout: dsl.Input[dsl.Dataset],
    bundle: dsl.Output[dsl.Model],
) -> str:
    from components.modelling.recipes import Recipe
    from components.modelling.stages import train as stage
    from components.steps.failing import told

    recipe = Recipe(
        model=model,
        features=features,
        contract=contract.path,
        seed=seed,
        params=params,
        says=says,
        provenance={"code": code, "commit": commit, "snapshot": snapshot_id, "split": split_id},
    )
    with told():
        return stage(recipe, key, train.path, holdout.path, bundle.path)

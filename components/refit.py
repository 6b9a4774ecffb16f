"""Refit: what goes to traffic, the accepted bundle or its recipe on all rows."""

from kfp import dsl

from components.step import step


@step
def refit(
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
    digest: str,
    verdict: str,
    contract: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    holdout: dsl.Input[dsl.Dataset],
    bundle: dsl.Input[dsl.Model],
    served: dsl.Output[dsl.Model],
) -> str:
    from components.modelling.recipes import Recipe
    from components.modelling.refitting import refit as stage
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
        return stage(recipe, key, bundle.path, train.path, holdout.path, served.path)

"""Split: training rows and holdout rows, with no key on both sides."""

from kfp import dsl

from components.step import step


@step
def split(
    name: str,
    run_id: str,
    place: str,
    policy: str,
    seed: int,
    code: str,
    contract_id: str,
    accepted_id: str,
    contract: dsl.Input[dsl.Artifact],
    accepted: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    holdout: dsl.Output[dsl.Dataset],
) -> str:
    from components.data.stages import split as stage
    from components.steps.failing import told

    with told():
        return stage(name, place, policy, contract.path, seed, accepted.path, train.path, holdout.path)

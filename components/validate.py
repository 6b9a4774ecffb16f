"""Validate: rows that keep the contract go on, the others are quarantined with their reasons."""

from kfp import dsl

from components.step import step


@step
def validate(
    as_of: str,
    code: str,
    contract_id: str,
    snapshot_id: str,
    contract: dsl.Input[dsl.Artifact],
    snapshot: dsl.Input[dsl.Dataset],
    accepted: dsl.Output[dsl.Dataset],
    quarantine: dsl.Output[dsl.Artifact],
) -> str:
    from components.data.stages import validate as stage
    from components.steps.failing import told

    with told():
        return stage(contract.path, as_of, snapshot.path, accepted.path, quarantine.path)

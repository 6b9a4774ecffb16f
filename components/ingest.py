"""Ingest: the table behind a URI becomes a snapshot named by its content, and the contract an artifact."""

from kfp import dsl

from components.step import step


@step
def ingest(
    source: str,
    contract: str,
    as_of: str,
    window: str,
    place: str,
    snapshot: dsl.Output[dsl.Dataset],
    rules: dsl.Output[dsl.Artifact],
) -> str:
    from components.data.stages import ingest as stage
    from components.steps.failing import told

    with told():
        return stage(source, contract, as_of, window, place, snapshot.path, rules.path)

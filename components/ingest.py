"""Ingest: the table behind a URI becomes a snapshot named by its content."""

from kfp import dsl

from components.step import step


@step
def ingest(source: str, contract: str, as_of: str, window: str, place: str, snapshot: dsl.Output[dsl.Dataset]) -> str:
    from components.core.failing import told
    from components.core.stages_data import ingest as stage

    with told():
        return stage(source, contract, as_of, window, place, snapshot.path)

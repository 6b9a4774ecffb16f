"""Ingest: what a run is about, its table as a snapshot named by its content, and the contract an artifact."""

from typing import NamedTuple

from kfp import dsl

from components.step import step


@step
def ingest(
    project: str,
    as_of: str,
    window: str,
    source: str,
    place: str,
    notes: str,
    run_id: str,
    snapshot: dsl.Output[dsl.Dataset],
    rules: dsl.Output[dsl.Artifact],
) -> NamedTuple(  # type: ignore[valid-type]  # a class of the module would not travel
    "Ingested",
    [
        ("snapshot_id", str),
        ("name", str),
        ("run_id", str),
        ("contract_id", str),
        ("split_policy", str),
        ("features", str),
        ("model", str),
        ("search", str),
        ("says", str),
        ("slices", str),
        ("gates", str),
        ("approval", str),
        ("rollout", str),
        ("settings", str),
        ("place", str),
        ("key", str),
        ("as_of", str),
        ("commit", str),
        ("code", str),
        ("seed", int),
        ("command", str),
    ],
):
    from components.projects.stages import ingest as stage
    from components.steps.failing import told

    with told():
        return stage(project, as_of, window, source, place, notes, run_id, snapshot.path, rules.path)

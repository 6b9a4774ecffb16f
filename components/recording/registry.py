"""Versions and aliases in MLflow's registry as the ledger has them, for people to look at."""

from collections.abc import Mapping
from typing import Any

from components.recording.tracking import RUN_ID, runs_of, store_client
from serving.ledger.ledger import Ledger
from serving.ledger.values import Version

VERSION = "slipway.version"


def mirror(ledger: Ledger, uri: str) -> str:
    """Show the ledger's versions and slots as MLflow model versions and aliases; returns the head that is shown.

    May be run again at any time and by several at once: only what is missing or differs is written, and what the ledger
    has become meanwhile is shown as well, so that whoever ends last has compared with the ledger as it was at the end.
    The newest hash of its history is kept as a tag, where somebody who edits the ledger does not reach it.
    """
    with store_client(uri) as client:
        while True:
            head = ledger.head()
            for model in ledger.models():
                _mirror_model(client, ledger, model, head)
            if ledger.head() == head:
                return head


def _mirror_model(client: Any, ledger: Ledger, model: str, head: str) -> None:
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    experiments = [found.experiment_id for found in client.search_experiments()]
    shown = {one.tags[VERSION]: one for one in client.search_model_versions(f"name = '{model}'") if VERSION in one.tags}
    numbers: dict[int, str] = {}
    for version in ledger.versions(model):
        found = shown.get(str(version.version))
        if found is None or not found.run_id:
            own = runs_of(client, experiments, version.provenance.get("mlflow", version.run_id))
            found = _mirror_version(client, version, found, own[0].info.run_id if own else None)
        numbers[version.version] = str(found.version)
        for key, value in _version_tags(version).items() - found.tags.items():
            client.set_model_version_tag(model, found.version, key, value)
    registered = client.get_registered_model(model)
    _mirror_slots(client, ledger, model, numbers, dict(registered.aliases or {}))
    if registered.tags.get("ledger.head") != head:
        client.set_registered_model_tag(model, "ledger.head", head)


def _mirror_version(client: Any, version: Version, found: Any, run_id: str | None) -> Any:
    """MLflow's version; one whose run was recorded later is made anew, as MLflow links the two only then."""
    if found is not None and run_id is None:
        return found
    if found is not None:
        client.delete_model_version(version.model, found.version)
    told = {"source": version.bundle_uri, "run_id": run_id, "tags": _version_tags(version)}
    return client.create_model_version(version.model, **told, await_creation_for=0)


def _mirror_slots(client: Any, ledger: Ledger, model: str, numbers: Mapping[int, str], aliases: dict[str, Any]) -> None:
    for name, slot in ledger.slots(model).items():
        wanted = numbers.get(slot.version or 0)  # of a version that came meanwhile: the next turn shows it
        shown = None if name not in aliases else str(aliases[name])
        if wanted is None and shown is not None:
            client.delete_registered_model_alias(model, name)
        elif wanted != shown:
            client.set_registered_model_alias(model, name, wanted)


def _version_tags(version: Version) -> dict[str, str]:
    tags = {
        VERSION: str(version.version),
        "lifecycle.stage": version.stage,
        "lifecycle.approval": version.approval,
        "artifact.sha256": version.digest,
        "data.snapshot": version.snapshot,
        "git.commit": str(version.provenance.get("git_commit", version.provenance.get("commit", ""))),
        RUN_ID: version.run_id,
    }
    return {key: value for key, value in tags.items() if value}

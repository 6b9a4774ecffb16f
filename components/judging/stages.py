"""The judging stages on paths: what the doorways ``evaluate``, ``gate`` and ``verify`` call."""

import json
from pathlib import Path

from components.judging import champions, metrics
from components.judging.evaluation import FEW_ROWS, Evaluation
from components.judging.gates import Demands, judge
from components.steps.keys import trusted_keys
from components.steps.place import Place, own_packages, s3_settings
from components.steps.telling import tell
from serving.bundle.files import MANIFEST
from serving.files import canonical_json, read_json, sha256_bytes, sha256_file, whole_directory, write_json, write_text
from serving.store.store import open_store

HOLDOUTS = "holdouts"


def evaluate(slices: str, key: str, holdout: str, bundle: str, evaluation: str) -> str:
    """Score the holdout rows with the bundle's own scorer; returns a digest of the evaluation."""
    from components.data import snapshots
    from components.judging.answers import examined
    from serving.bundle.bundle import open_bundle

    rows = snapshots.read(Path(holdout))
    result = examined(open_bundle(Path(bundle), trusted_keys(key)), rows, json.loads(slices))
    value = result.model_dump(mode="json")
    with whole_directory(Path(evaluation)) as folder:
        write_json(folder / "evaluation.json", value)
    tell(f"{result.sentence}{_without(result)}{_worst_slice(result)}")
    return sha256_bytes(canonical_json(value))


def gate(
    name: str, gates: str, slices: str, place: str, evaluation: str, holdout: str, bundle: str, decision: str
) -> str:
    """Judge the candidate against floors and the champion on the same rows; returns ``accepted`` or ``refused``."""
    where = Place.model_validate_json(place)
    candidate = Evaluation.model_validate(read_json(Path(evaluation) / "evaluation.json"))
    asked = Demands.model_validate_json(gates)
    version = champions.serving_now(name, where)
    if version is None:
        verdict, theirs = judge(candidate, None, asked.gates, guards=asked.guards), None
    else:
        from components.data import snapshots  # without a champion a gate has no rows to read
        from components.judging.comparison import beside
        from serving.bundle.bundle import open_bundle

        verdict, theirs = beside(
            lambda: champions.judged(champions.opened(name, where, version).bundle, where),
            lambda: open_bundle(Path(bundle), trusted_keys(where.key)),
            lambda: snapshots.read(Path(holdout)),
            candidate,
            asked.gates,
            json.loads(slices),
            asked.guards,
        )
    verdict = verdict.model_copy(update={"uses": used(name, where, candidate.rows_digest, bundle)})
    with whole_directory(Path(decision)) as folder:
        write_text(folder / "decision.json", verdict.model_dump_json(indent=2))
        if version is not None:
            write_text(folder / "champion_version.json", json.dumps({"version": version}))
        if theirs is not None:
            write_text(folder / "champion.json", theirs.model_dump_json(indent=2))
    tell("; ".join([verdict.sentence, *verdict.notices]))
    return "accepted" if verdict.accepted else "refused"


def used(name: str, place: Place, rows_digest: str, bundle: str) -> int:
    """How many candidates of model *name* were judged on the held-out rows of that digest, that in *bundle* included.

    Each leaves its name beside the model's bundles in the store, which every step of every run can reach.
    """
    store = open_store(place.store, s3_settings(place))
    prefix = f"{name}/{HOLDOUTS}/{rows_digest}"
    store.put(f"{prefix}/{sha256_file(Path(bundle) / MANIFEST)}", b"")
    return len(store.list(prefix))


def verify(name: str, key: str, bundle: str) -> str:
    """Ask the candidate in a real model server; returns what it did as JSON."""
    from components.judging.verification import verify as verify_server
    from serving.bundle.bundle import open_bundle

    trusted = trusted_keys(key)
    opened = open_bundle(Path(bundle), trusted, deep=True)
    seen = verify_server(name, Path(bundle), opened, trusted[0].pem, own_packages())
    tell(seen.sentence)
    return seen.model_dump_json()


def _without(evaluation: Evaluation) -> str:
    """What is reached without a model, as a phrase."""
    leading = metrics.leading(evaluation.task)
    known = [one for one in evaluation.rivals.values() if leading.name in one.metrics]
    shown = [f"{leading.show(one.metrics[leading.name], evaluation.unit)} by {one.words}" for one in known]
    return f"  without a model {', '.join(shown)}" if shown else ""


def _worst_slice(evaluation: Evaluation) -> str:
    """The slice of enough rows where the leading metric is worst, as a phrase."""
    leading = metrics.leading(evaluation.task)
    known = [part for part in evaluation.slices if part.rows >= FEW_ROWS and leading.name in part.metrics]
    if not known:
        return ""
    worst = max(known, key=lambda part: leading.loss(part.metrics[leading.name]))
    return f"  worst slice {worst.column} {worst.value}: {leading.show(worst.metrics[leading.name], evaluation.unit)}"

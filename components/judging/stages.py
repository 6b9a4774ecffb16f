"""The judging stages on paths: what the doorways ``evaluate``, ``gate`` and ``verify`` call."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.judging import champions, metrics
from components.judging.evaluation import FEW_ROWS, Evaluation
from components.judging.evaluation import evaluate as judge_predictions
from components.judging.gates import Gate, judge
from components.steps.keys import trusted_keys
from components.steps.place import Place
from components.steps.telling import tell
from serving.files import canonical_json, read_json, sha256_bytes, whole_directory, write_json, write_text

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle


def evaluate(slices: str, key: str, holdout: str, bundle: str, evaluation: str) -> str:
    """Score the holdout rows with the bundle's own scorer; returns a digest of the evaluation."""
    from serving.bundle.bundle import open_bundle

    result = _scored(open_bundle(Path(bundle), trusted_keys(key)), holdout, slices)
    value = result.model_dump(mode="json")
    with whole_directory(Path(evaluation)) as folder:
        write_json(folder / "evaluation.json", value)
    tell(f"{result.sentence}{_worst_slice(result)}")
    return sha256_bytes(canonical_json(value))


def gate(name: str, gates: str, slices: str, place: str, evaluation: str, holdout: str, decision: str) -> str:
    """Judge the candidate against floors and the champion on the same rows; returns ``accepted`` or ``refused``."""
    candidate = Evaluation.model_validate(read_json(Path(evaluation) / "evaluation.json"))
    champion = champions.find(name, Place.model_validate_json(place))
    theirs = None if champion is None else _scored(champion.bundle, holdout, slices)
    verdict = judge(candidate, theirs, [Gate.model_validate(one) for one in json.loads(gates)])
    with whole_directory(Path(decision)) as folder:
        write_text(folder / "decision.json", verdict.model_dump_json(indent=2))
        if champion is not None and theirs is not None:
            write_text(folder / "champion.json", theirs.model_dump_json(indent=2))
            write_text(folder / "champion_version.json", json.dumps({"version": champion.version}))
    tell(verdict.sentence)
    return "accepted" if verdict.accepted else "refused"


def verify(name: str, key: str, bundle: str) -> str:
    """Ask the candidate in a real model server; returns what it did as JSON."""
    from components.judging.verification import verify as verify_server
    from serving.bundle.bundle import open_bundle

    trusted = trusted_keys(key)
    seen = verify_server(name, Path(bundle), open_bundle(Path(bundle), trusted, deep=True), trusted[0].pem)
    tell(seen.sentence)
    return seen.model_dump_json()


def _scored(bundle: "Bundle", holdout: str, slices: str) -> Evaluation:
    """The holdout rows through the bundle's own scorer, judged; candidate and champion meet here."""
    from components.data import snapshots  # without a champion a gate has no rows to read
    from components.data.tables import matrix_and_target

    matrix, target = matrix_and_target(snapshots.read(Path(holdout)), bundle.contract)
    return judge_predictions(bundle.scorer.score(matrix), target, matrix, bundle.contract, json.loads(slices))


def _worst_slice(evaluation: Evaluation) -> str:
    """The slice of enough rows where the leading metric is worst, as a phrase."""
    leading = metrics.leading(evaluation.task)
    known = [part for part in evaluation.slices if part.rows >= FEW_ROWS and leading.name in part.metrics]
    if not known:
        return ""
    worst = max(known, key=lambda part: leading.loss(part.metrics[leading.name]))
    return f"  worst slice {worst.column} {worst.value}: {leading.show(worst.metrics[leading.name], evaluation.unit)}"

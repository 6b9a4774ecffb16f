"""The gate stage on paths: the candidate against floors, slices and the champion on the same rows."""

import json
from pathlib import Path

from components.judging import champions
from components.judging.evaluation import Evaluation
from components.judging.gates import Gate, judge
from components.steps.place import Place
from components.steps.telling import tell
from serving.files import read_json, whole_directory, write_text


def gate(name: str, gates: str, slices: str, place: str, evaluation: str, holdout: str, decision: str) -> str:
    """Judge the candidate against floors and the champion on the same rows; returns ``accepted`` or ``refused``."""
    where = Place.model_validate_json(place)
    candidate = Evaluation.model_validate(read_json(Path(evaluation) / "evaluation.json"))
    champion = champions.find(name, where)
    theirs = None
    if champion is not None:
        from components.judging.holdout_scores import score_holdout  # without a champion there are no rows to read

        theirs = score_holdout(champion.bundle, Path(holdout), tuple(json.loads(slices)))
    verdict = judge(candidate, theirs, [Gate.model_validate(one) for one in json.loads(gates)])
    with whole_directory(Path(decision)) as folder:
        write_text(folder / "decision.json", verdict.model_dump_json(indent=2))
        if champion is not None and theirs is not None:
            write_text(folder / "champion.json", theirs.model_dump_json(indent=2))
            write_text(folder / "champion_version.json", json.dumps({"version": champion.version}))
    tell(verdict.sentence)
    return "accepted" if verdict.accepted else "refused"

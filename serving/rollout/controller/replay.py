"""Taking a journal's decisions again, to see that each follows from what it says was seen."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from serving.files import canonical_json, sha256_bytes
from serving.rollout.controller.persistence import Decide, Record, verify
from serving.rollout.decision.engine import decide
from serving.rollout.decision.rules import Decision, Seen
from serving.rollout.state import RolloutState

_seen: TypeAdapter[Seen] = TypeAdapter(Seen)


@dataclass(frozen=True)
class Replay:
    """How many decisions were taken again, and the numbers of the records whose verdict or evidence differs."""

    decisions: int
    different: tuple[int, ...]

    @property
    def identical(self) -> bool:
        return not self.different


def replay(records: Iterable[Record], head: str | None = None) -> Replay:
    """Check the chain, then decide everything again; equal means equal to the last digit.

    Raises:
        DataError: a record was edited or is missing.
    """
    kept = list(records)
    verify(kept, head)
    taken = [record for record in kept if record.kind == "decide"]
    return Replay(len(taken), tuple(record.seq for record in taken if not _same(record)))


def decision_record(state: RolloutState, seen: Seen, decision: Decision) -> Decide:
    """Inputs and outputs of one decision: enough to take it again.

    Counts that are not fresh are in the state already and left out.
    """
    if seen.counters is not None and not seen.counters.fresh:
        seen = replace(seen, counters=replace(seen.counters, epochs={}))
    return {
        "state": state.model_dump(mode="json"),
        "seen": _seen.dump_python(seen, mode="json"),
        "verdict": decision.verdict,
        "sentence": decision.sentence,
        "evidence": decision.evidence.model_dump(mode="json"),
        "next": sha256_bytes(canonical_json(decision.state.model_dump(mode="json"))),
    }


def _same(record: Record) -> bool:
    state = RolloutState.model_validate(record.body["state"])
    seen = _seen.validate_python(record.body["seen"])
    return decision_record(state, seen, decide(state, seen, record.at)) == dict(record.body)

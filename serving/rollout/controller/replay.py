"""Taking a journal's decisions again, to see that each follows from what it says was seen."""

from collections.abc import Iterable
from dataclasses import dataclass

from serving.files import canonical_json, sha256_bytes
from serving.rollout.controller.acting import seen_from_json, seen_to_json, without_stale
from serving.rollout.controller.persistence import Decide, Record, verify
from serving.rollout.decision.engine import decide
from serving.rollout.decision.rules import Decision, Seen
from serving.rollout.state import RolloutState


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
    """Inputs and outputs of one decision: enough to take it again."""
    return {
        "state": state.to_json(),
        "seen": seen_to_json(without_stale(seen)),
        "verdict": decision.verdict,
        "sentence": decision.sentence,
        "evidence": decision.evidence.model_dump(mode="json"),
        "next": sha256_bytes(canonical_json(decision.state.to_json())),
    }


def _same(record: Record) -> bool:
    state = RolloutState.from_json(record.body["state"])
    seen = seen_from_json(record.body["seen"])
    return decision_record(state, seen, decide(state, seen, record.at)) == dict(record.body)

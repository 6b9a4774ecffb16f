"""The share that somebody declares: a ``Split`` with the model's name, for whoever has ``kubectl apply`` and no shell.

What it says is done by what the verbs do, through the same ledger and the same desk, in the name of who wrote it, and
once for each change of it: what the verbs are told afterwards holds until it is changed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.cluster.client import Cluster, Kind, Object
from serving.cluster.edits import Word, editor, tell, utc
from serving.errors import ConflictError, InfrastructureError, SlipwayError
from serving.ledger.ledger import Ledger
from serving.rollout.backend import WEIGHT_SUM, Split
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import Command
from serving.rollout.state import Phase, Reason, RolloutState
from serving.service.by_hand import say_share

SPLIT = Kind("slipway.dev", "v1", "splits")
DECLARED = "declared"  # in a service's memory: what became of the last change
_NOT_YET = frozenset({Phase.PENDING, Phase.PREPARE})  # a candidate that loads can take no share, and is waited for

Said = Mapping[str, Any]  # "change" that was answered, number "asked" of an order, then "obeyed" and a "sentence"


@dataclass(frozen=True)
class Declared:
    """What a ``Split`` says.

    Attributes:
        change: differs with each change of it. who: the field manager who wrote it last.
    """

    model: str
    version: int
    percent: float
    reason: str
    who: str
    change: str


def read_split(found: Mapping[str, Any]) -> Declared:
    metadata, spec, by = found["metadata"], found["spec"], editor(found)
    return Declared(
        model=metadata["name"],
        version=spec["version"],
        percent=float(spec["percent"]),
        reason=spec.get("reason") or f"Split {metadata['name']}",
        who=by.manager if by is not None else "somebody",
        change=f"{metadata.get('uid', '')} {metadata['generation']}",
    )


def order_for(declared: Declared, live: RolloutState) -> Command:
    """What the rollout that decides is told, so that traffic is as *declared*.

    Raises:
        ConflictError: it is about other versions.
    """
    percent = declared.percent
    if live.stable is not None and declared.version == live.stable.version:
        percent = 100 - percent
    elif declared.version != live.candidate.version:
        raise ConflictError(
            f"rollout {live.id} of {live.candidate.name} is live, and this Split is about version {declared.version}; "
            "name one of the rollout's two versions, or end it with slipway rollout abort"
        )
    if 0 < percent < 100:
        return Command("pause", declared.who, declared.reason, percent=percent)
    return Command("promote" if percent else "abort", declared.who, declared.reason)


def declared_in(cluster: Cluster, namespace: str) -> dict[str, Object]:
    """The ``Split`` objects by the model whose name they have; empty where the type is not installed."""
    return {found["metadata"]["name"]: found for found in cluster.list(SPLIT, namespace, {})}


@dataclass(frozen=True)
class Declaration:
    """One look at what is declared of one model, by who holds the lease of its service.

    Attributes:
        traffic: the split in force, None where nobody knows.
    """

    cluster: Cluster
    ledger: Ledger
    desk: Desk
    traffic: Split | None
    now: float

    def follow(self, found: Object | None) -> None:
        """Do what *found* says if nobody has yet, and keep its status.

        Raises:
            InfrastructureError: ledger or cluster do not answer; it is done at the next look.
        """
        said = self.desk.memory.get(DECLARED) or {}
        if found is None:
            self._gone(said)
            return
        declared = read_split(found)
        after = self._answer(found, said) if said.get("change") == declared.change else self._obey(found, declared)
        if after != said and "change" in after:
            self.desk.memory.put(DECLARED, after)
        show(self.cluster, found, after, self.traffic, self.now)

    def _live(self) -> RolloutState | None:
        stored = self.desk.load()
        return None if stored is None or stored.state.terminal else stored.state

    def _obey(self, found: Object, declared: Declared) -> Said:
        live, said = self._live(), {"change": declared.change}
        if live is not None and live.phase in _NOT_YET:
            return {"sentence": f"waits until {live.candidate.name} can take requests"}
        try:
            if live is not None:
                return {**said, "asked": self.desk.ask(order_for(declared, live))}
            asked = (declared.model, declared.version, declared.percent, declared.who, declared.reason)
            return self._concluded(found, said, say_share(self.ledger, *asked), obeyed=True)
        except InfrastructureError:
            raise
        except SlipwayError as refused:
            return self._concluded(found, said, str(refused), obeyed=False)

    def _answer(self, found: Object, said: Said) -> Said:
        """What the rollout's controller has said to the order meanwhile."""
        answer = self.desk.answered(said["asked"]) if "asked" in said else None
        if answer is None:
            return said
        done, _, name = answer.partition("done: ")
        sentence = done or f"the live rollout obeys ({name})"
        return self._concluded(found, {"change": said["change"]}, sentence, obeyed=not done)

    def _concluded(self, found: Object, said: Said, sentence: str, *, obeyed: bool) -> Said:
        declared = read_split(found)
        told = f"{declared.who} asked by Split for {declared.percent:g} % to version {declared.version}: {sentence}"
        reason = "SplitObeyed" if obeyed else "SplitRefused"
        word = Word(reason, told, declared.who, "Normal" if obeyed else "Warning")
        tell(self.cluster, self.desk.memory, found, word, self.now)
        return {**said, "sentence": sentence, "obeyed": obeyed}

    def _gone(self, said: Said) -> None:
        """Whoever takes a Split away lets the rollout that it held go on; without a rollout the share stays."""
        live = self._live()
        held = live.pause if live is not None else None
        if said.get("obeyed") and held is not None and held.reason is Reason.MANUAL and held.detail.startswith("held"):
            self.desk.ask(Command("resume", "Split", "it is gone"))
        if said:
            self.desk.memory.put(DECLARED, {})


def show(cluster: Cluster, found: Object, said: Said, traffic: Split | None, now: float) -> None:
    """Write what became of a Split into its status, where that is not there yet."""
    metadata, obeyed = found["metadata"], said.get("obeyed")
    ready: Object = {
        "type": "Ready",
        "status": "Unknown" if obeyed is None else str(obeyed),
        "reason": "Pending" if obeyed is None else "Obeyed" if obeyed else "Refused",
        "message": said.get("sentence", "the controller of the rollout is asked"),
        "observedGeneration": metadata["generation"],
    }
    declared, known = read_split(found), found.get("status", {})
    status: Object = {"observedGeneration": metadata["generation"], "by": declared.who}
    if traffic is not None:
        status["percent"] = traffic.weight(f"{declared.model}-{declared.version}") * 100 / WEIGHT_SUM
    before: Object = next((told for told in known.get("conditions", ()) if told["type"] == "Ready"), {})
    if {**known, **status} == known and {**before, **ready} == before:
        return
    same = before.get("status") == ready["status"]
    ready["lastTransitionTime"] = before["lastTransitionTime"] if same else utc(now)
    body = {"status": {**status, "conditions": [ready]}}
    cluster.patch(SPLIT, metadata["namespace"], metadata["name"], body, part="status")

"""One hold of the lease at one moment: all that a controller writes goes through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import ConflictError
from serving.rollout.controller.desk import Desk
from serving.rollout.controller.persistence import Action, Grant, RecordKind
from serving.rollout.state import RolloutState


@dataclass(frozen=True)
class Turn:
    """What may be written to *desk* under *grant*, at *now*; ``ConflictError`` once somebody else has the lease."""

    desk: Desk
    grant: Grant
    now: float

    def note(self, kind: RecordKind, rollout: str, body: Mapping[str, Any]) -> None:
        """Add a record of *rollout* to the journal."""
        self.desk.append(kind, rollout, body, self.now, self.grant.token)

    def save(self, state: RolloutState, revision: int) -> int:
        """Replace the state at *revision*; the new revision."""
        return self.desk.save(state, revision, self.grant.token)

    def note_settled(self, before: RolloutState, after: RolloutState) -> None:
        """Add a record of each split that traffic follows since *before*."""
        known = {epoch.token for epoch in before.epochs if epoch.settling is not None}
        for epoch in after.epochs:
            if epoch.settling is not None and epoch.token not in known:
                done = Action(action="apply", epoch=epoch.token, weight=epoch.weight, digest=epoch.digest)
                self.note("done", after.id, done)

    def still_mine(self) -> None:
        """Raise ``ConflictError`` when the lease is gone."""
        held = self.desk.current()
        if held is None or held.token != self.grant.token:
            raise ConflictError(f"the lease went to {held.holder if held else 'nobody'}; stopping at once")

"""What a change of traffic does to stages, slots and deployments, inside an open transaction."""

from collections.abc import Mapping
from typing import Any

from serving.errors import ConflictError, GateRefusal
from serving.ledger import bundles, rows
from serving.ledger.values import MOVES, Slot, SlotName, Stage, Version
from serving.ledger.writing import Writing


def check_release(writing: Writing, row: Version, slots: Mapping[SlotName, Slot], ending: bool = False) -> None:
    """Raise unless *row* may take traffic now; to give some up (*ending*) nothing but being the canary is asked."""
    name, canary = f"{row.model} version {row.version}", slots["canary"]
    if canary.version not in (None, row.version):
        raise ConflictError(f"version {canary.version} is the canary of {row.model}: {writing.winner(canary)}")
    if ending:
        return
    if row.stage == "development":
        raise GateRefusal(f"{name} is in development and cannot take traffic; move it to staging first")
    if row.approval != "approved":
        raise GateRefusal(f"{name} is not approved ({row.approval}); approve it with a reason first")
    bundles.require(writing.connection, row)


def serve(writing: Writing, row: Version, kind: str, gate_report: Mapping[str, Any] | None = None) -> None:
    """Put *row* into production: stages, the three slots, all traffic; *gate_report* is what it was decided on."""
    slots = rows.slots(writing.connection, row.model)
    production, canary, previous = slots["production"], slots["canary"], slots["previous"]
    if production.version is not None:
        writing.move(rows.version(writing.connection, row.model, production.version), "archived")
    writing.move(row, "production")
    if canary.version is not None:
        writing.set_slot(canary, "canary ended", None, 0.0)
    traffic = {row.version: 100.0}
    writing.set_slot(production, kind, row.version, 100.0, gate_report=gate_report, **_recorded(writing, traffic))
    if production.version is not None or previous.version == row.version:
        writing.set_slot(previous, "previous", production.version, 0.0)
    writing.set_traffic(row.model, traffic)


def split(
    writing: Writing, canary: Slot, stable: int, version: int | None, percent: float, sticky_header: str | None = None
) -> None:
    """Give *version* *percent* of the traffic and *stable* the rest; None ends the canary."""
    traffic = {stable: 100.0 - percent}
    if version is not None:
        traffic[version] = float(percent)
    kind = "canary ended" if version is None else "canary"
    recorded = _recorded(writing, traffic)
    writing.set_slot(canary, kind, version, float(percent), sticky_header=sticky_header, **recorded)
    writing.set_traffic(canary.model, traffic)


def move(writing: Writing, row: Version, stage: Stage) -> None:
    """Take *row* one allowed step to *stage*; into and out of production its traffic goes with it."""
    name = f"{row.model} version {row.version}"
    if stage not in MOVES[row.stage]:
        allowed = " or ".join(MOVES[row.stage])
        raise GateRefusal(f"{name} is in {row.stage} and cannot move to {stage}; from there: {allowed}")
    slots = rows.slots(writing.connection, row.model)
    canary = slots["canary"].version
    if stage == "production":
        check_release(writing, row, slots)
        serve(writing, row, "promoted")
    elif canary is not None and (row.stage == "production" or canary == row.version):
        raise GateRefusal(f"{name} is part of a canary; end the canary first")
    elif row.stage == "production":
        retire(writing, row, slots)
    else:
        writing.move(row, stage)


def retire(writing: Writing, row: Version, slots: Mapping[SlotName, Slot]) -> None:
    """Take the version in production out of service and keep it for a rollback."""
    writing.move(row, "archived")
    writing.set_slot(slots["production"], "retired", None, 0.0, **_recorded(writing, {}))
    writing.set_slot(slots["previous"], "previous", row.version, 0.0)
    writing.set_traffic(row.model, {})


def _recorded(writing: Writing, traffic: Mapping[int, float]) -> dict[str, Any]:
    return {"traffic": {str(version): percent for version, percent in traffic.items()}, "place": writing.place}

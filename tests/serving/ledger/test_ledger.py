"""The ledger: allowed moves, approval, slots, what served when, and a history that cannot be edited unseen."""

import itertools
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy.dialects import mysql, postgresql

from serving.errors import (
    ConfigError,
    ConflictError,
    DataError,
    GateRefusal,
    InfrastructureError,
    SlipwayError,
    UsageError,
)
from serving.ledger import database as ledger_database
from serving.ledger import schema as ledger_schema
from serving.ledger.ledger import Ledger, open_ledger
from serving.ledger.values import MOVES, Approval, Deployment, Slot, Stage, Version, route
from tests.serving.ledger.facts import facts

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
STAGES: tuple[Stage, ...] = ("development", "staging", "production", "archived")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def pass_hours(self, hours: float) -> datetime:
        self.time += timedelta(hours=hours)
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    return open_ledger(str(tmp_path / "ledger.db"), now=clock, place="this machine")


def registered(
    ledger: Ledger,
    digest: str = "a",
    model: str = "housing",
    actor: str = "pipeline",
    reason: str = "by its run",
    stage: Any = "staging",
    **more: Any,
) -> Version:
    values: dict[str, Any] = {
        "run_id": f"run-{digest}",
        "snapshot": "9f3c1a",
        "metrics": {"rmse": 42105.5, "slices": {"coast": 61200}},
        "provenance": {"git_commit": "abc", "seeds": [1, 2]},
    }
    made = facts(digest * 64, f"s3://models/{digest}", **(values | more))
    return ledger.register(model, made, actor, stage=stage, reason=reason)


def approved(ledger: Ledger, digest: str = "a") -> Version:
    version = registered(ledger, digest)
    return ledger.approve("housing", version.version, "policy", "approval: auto", policy="auto")


def in_stage(ledger: Ledger, stage: Stage) -> Version:
    version = registered(ledger, "m", stage="development")
    for step in {"development": (), **{s: route("development", s) for s in STAGES[1:]}}[stage]:
        ledger.approve("housing", version.version, "ann", "fine")
        ledger.move("housing", version.version, step, "ann", "on its way")
    return ledger.version("housing", version.version)


# Versions and stages


def test_registration_keeps_what_it_was_given(ledger: Ledger) -> None:
    """A version reads back as registered, in staging, waiting for approval."""
    version = registered(ledger)
    assert version == Version(
        model="housing",
        version=1,
        digest="a" * 64,
        bundle_uri="s3://models/a",
        run_id="run-a",
        snapshot="9f3c1a",
        metrics={"rmse": 42105.5, "slices": {"coast": 61200}},
        provenance={"git_commit": "abc", "seeds": [1, 2]},
        stage="staging",
        approval="pending",
        created=NOON,
        created_by="pipeline",
    )
    assert version.name == "housing-1"
    assert ledger.version("housing", 1) == version
    assert [event.kind for event in ledger.history("housing")] == ["registered", "moved"]


def test_registration_is_idempotent_on_the_digest(ledger: Ledger) -> None:
    """The same bundle registered again, even by another run, is the same version and leaves no event."""
    first = registered(ledger)
    second = registered(ledger, "b")
    ledger.approve("housing", 1, "ann", "fine")
    again = registered(ledger, run_id="another", actor="somebody else")
    assert (first.version, second.version, again.version) == (1, 2, 1)
    assert again.run_id == "run-a"
    assert again.approval == "approved"
    assert len(ledger.history()) == 5


def test_numbers_count_per_model(ledger: Ledger) -> None:
    """Every model counts from 1 and the same bundle may belong to two models."""
    registered(ledger)
    other = registered(ledger, model="breast_cancer")
    assert other.version == 1
    assert ledger.models() == ("breast_cancer", "housing")
    assert [version.version for version in ledger.versions("housing")] == [1]
    assert ledger.versions("nobody") == ()


@pytest.mark.parametrize("target", STAGES)
@pytest.mark.parametrize("source", STAGES)
def test_only_the_allowed_moves_are_made(ledger: Ledger, source: Stage, target: Stage) -> None:
    """Development to staging to production to archived, staging to archived and back; all else is refused by name."""
    allowed = {
        ("development", "staging"),
        ("staging", "production"),
        ("production", "archived"),
        ("staging", "archived"),
        ("archived", "staging"),
    }
    version = in_stage(ledger, source)
    ledger.approve("housing", version.version, "ann", "fine")
    before = ledger.history()
    if (source, target) in allowed:
        assert ledger.move("housing", version.version, target, "bob", "wanted").stage == target
        moved = [event for event in ledger.history() if event.kind == "moved"][-1]
        assert (moved.actor, moved.reason, dict(moved.detail)) == ("bob", "wanted", {"from": source, "to": target})
    else:
        with pytest.raises(GateRefusal, match=f"is in {source} and cannot move to {target}; from there: "):
            ledger.move("housing", version.version, target, "bob", "wanted")
        assert ledger.history() == before
    assert ledger.verify().intact


def test_the_serving_version_can_be_retired_and_brought_back(ledger: Ledger, clock: Clock) -> None:
    """Archiving what serves empties the slot and ends its traffic; a rollback brings it back."""
    approved(ledger)
    ledger.promote("housing", 1, "ann", "first")
    retired = clock.pass_hours(1)
    ledger.move("housing", 1, "archived", "ann", "market closed")
    assert ledger.slot("housing").version is None
    assert ledger.at("housing", retired) == ()
    assert ledger.rollback("housing", "ann", "market open").version == 1
    assert ledger.version("housing", 1).stage == "production"
    assert ledger.slot("housing", "previous").version is None
    assert ledger.verify().intact


@pytest.mark.parametrize("act", ["version", "move", "approve", "promote", "canary", "approval"])
def test_an_unknown_version_is_named(ledger: Ledger, act: str) -> None:
    """Asking for a version that is not there says which there are."""
    registered(ledger)
    calls: dict[str, Callable[[], object]] = {
        "version": lambda: ledger.version("housing", 7),
        "move": lambda: ledger.move("housing", 7, "archived", "ann", "x"),
        "approve": lambda: ledger.approve("housing", 7, "ann", "x"),
        "promote": lambda: ledger.promote("housing", 7, "ann", "x"),
        "canary": lambda: ledger.canary("housing", 7, 5, "ann", "x"),
        "approval": lambda: ledger.approval("housing", 7),
    }
    with pytest.raises(UsageError, match="no version 7 in the ledger; known: 1"):
        calls[act]()


@pytest.mark.parametrize(("actor", "reason"), [("", "why"), ("who", ""), (" ", "why")])
def test_who_and_why_are_asked_for(ledger: Ledger, actor: str, reason: str) -> None:
    """Nothing is recorded without an actor and a reason."""
    registered(ledger)
    with pytest.raises(UsageError, match="give an actor and a reason"):
        ledger.approve("housing", 1, actor, reason)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_hold_is_refused(ledger: Ledger, value: object) -> None:
    """Metrics that would not read back as they were are refused, and nothing is registered."""
    with pytest.raises(DataError, match="the ledger keeps JSON"):
        registered(ledger, metrics={"rmse": value})
    assert ledger.versions("housing") == ()


# Approval


def test_release_needs_approval(ledger: Ledger) -> None:
    """Neither promote nor canary nor move takes a version that is waiting or rejected."""
    approved(ledger)
    ledger.promote("housing", 1, "ann", "first")
    registered(ledger, "b")
    releases: list[Callable[[], object]] = [
        lambda: ledger.promote("housing", 2, "ann", "x"),
        lambda: ledger.canary("housing", 2, 5, "ann", "x"),
        lambda: ledger.move("housing", 2, "production", "ann", "x"),
    ]
    for release in releases:
        with pytest.raises(GateRefusal, match=r"version 2 is not approved \(pending\)"):
            release()
    ledger.reject("housing", 2, "bob", "unfair to the coast")
    for release in releases:
        with pytest.raises(GateRefusal, match=r"not approved \(rejected\)"):
            release()
    assert ledger.slot("housing").version == 1


def test_development_takes_no_traffic(ledger: Ledger) -> None:
    """An approved version must be in staging before it serves."""
    approved(ledger)
    ledger.promote("housing", 1, "ann", "first")
    registered(ledger, "b", stage="development")
    ledger.approve("housing", 2, "ann", "fine")
    for release in (
        lambda: ledger.promote("housing", 2, "ann", "x"),
        lambda: ledger.canary("housing", 2, 5, "ann", "x"),
    ):
        with pytest.raises(GateRefusal, match="in development and cannot take traffic"):
            release()


def test_approval_tells_who_when_and_by_which_policy(ledger: Ledger, clock: Clock) -> None:
    """The newest word counts, repeating it changes nothing, and all words stay in the history."""
    registered(ledger)
    assert ledger.approval("housing", 1) == Approval("pending")
    ledger.approve("housing", 1, "policy", "approval: auto", policy="auto")
    ledger.approve("housing", 1, "ann", "me too")
    assert ledger.approval("housing", 1) == Approval("approved", "auto", "policy", "approval: auto", NOON)
    later = clock.pass_hours(1)
    ledger.reject("housing", 1, "bob", "bias")
    assert ledger.approval("housing", 1) == Approval("rejected", "manual", "bob", "bias", later)
    assert [event.kind for event in ledger.history()][2:] == ["approved", "rejected"]


# Slots


def test_promotion_moves_slot_stages_and_traffic_together(ledger: Ledger) -> None:
    """The new version is in production with all traffic, the old one archived and kept, the gate report on record."""
    approved(ledger)
    approved(ledger, "b")
    ledger.promote("housing", 1, "ann", "first")
    slot = ledger.promote(
        "housing", 2, "bob", "better", {"rmse": {"candidate": 41.0, "champion": 42.5}, "bins": {9: 1, 10: 2}}
    )
    assert slot == Slot("housing", "production", 2, 100.0, 2)
    assert ledger.slot("housing", "previous").version == 1
    assert [version.stage for version in ledger.versions("housing")] == ["archived", "production"]
    promoted = [event for event in ledger.history("housing") if event.kind == "promoted"][-1]
    assert promoted.detail["gate_report"] == {"rmse": {"candidate": 41.0, "champion": 42.5}, "bins": {"9": 1, "10": 2}}
    assert (promoted.actor, promoted.reason, promoted.at) == ("bob", "better", NOON)
    assert ledger.verify().intact


def test_rollback_goes_back_and_forward_again(ledger: Ledger) -> None:
    """Rolling back returns the version before, by way of staging, and rolling back twice undoes it."""
    approved(ledger)
    approved(ledger, "b")
    ledger.promote("housing", 1, "ann", "first")
    with pytest.raises(GateRefusal, match="no version to roll back to"):
        ledger.rollback("housing", "ann", "x")
    ledger.promote("housing", 2, "ann", "second")
    assert ledger.rollback("housing", "bob", "errors").version == 1
    moves = [
        (event.version, event.detail["from"], event.detail["to"]) for event in ledger.history() if event.kind == "moved"
    ]
    assert moves[-3:] == [(2, "production", "archived"), (1, "archived", "staging"), (1, "staging", "production")]
    assert ledger.rollback("housing", "bob", "not its fault").version == 2
    assert ledger.promote("housing", 1, "bob", "after all").version == 1
    ledger.reject("housing", 2, "bob", "broken")
    with pytest.raises(GateRefusal, match="version 2 was rejected"):
        ledger.rollback("housing", "bob", "x")
    assert ledger.slot("housing").revision == 5


def test_a_stale_decision_is_told_who_was_first(ledger: Ledger) -> None:
    """Whoever decided on an older revision changes nothing and learns who, when, what and why."""
    for digest in "abc":
        approved(ledger, digest)
    ledger.promote("housing", 1, "ann", "first")
    seen = ledger.slot("housing").revision
    ledger.promote("housing", 2, "bob", "lower error", expected_revision=seen)
    before = ledger.history()
    told = (
        r"production of housing is at revision 2, not 1: bob was first at 2026-11-24T12:00:00\+00:00 "
        r"\(promoted version 2: lower error\)"
    )
    with pytest.raises(ConflictError, match=told):
        ledger.promote("housing", 3, "eve", "mine", expected_revision=seen)
    with pytest.raises(ConflictError, match=told):
        ledger.rollback("housing", "eve", "mine", expected_revision=seen)
    with pytest.raises(ConflictError, match=told):
        ledger.promote("housing", 2, "eve", "same idea", expected_revision=seen)
    assert ledger.history() == before


def test_a_repeated_promotion_is_done_already(ledger: Ledger) -> None:
    """The same promotion again, as after a crash, changes nothing and is no conflict with itself."""
    approved(ledger)
    done = ledger.promote("housing", 1, "ann", "first", expected_revision=0)
    events = ledger.history()
    assert ledger.promote("housing", 1, "ann", "first", expected_revision=0) == done
    assert ledger.promote("housing", 1, "bob", "whatever serves") == done
    assert ledger.history() == events


def test_a_version_without_its_bundle_takes_no_traffic(ledger: Ledger) -> None:
    """What is put away may lose its bundle; it comes back when its run registers it again, and all of it is told."""
    for digest in "abc":
        version = registered(ledger, digest).version
        ledger.approve("housing", version, "ann", "fine")
        ledger.promote("housing", version, "ann", "next")
    for kept, why in ((2, "previous"), (3, "production")):
        with pytest.raises(ConflictError, match=f"housing version {kept} is {why} and keeps its bundle"):
            ledger.drop_bundle("housing", kept, "ann", "clean")
    ledger.drop_bundle("housing", 1, "ann", "clean")
    ledger.drop_bundle("housing", 1, "ann", "clean again")
    for act in (lambda: ledger.promote("housing", 1, "ann", "x"), lambda: ledger.canary("housing", 1, 5, "ann", "x")):
        with pytest.raises(GateRefusal, match=r"housing version 1 has no bundle any more.*page of its run run-a says"):
            act()
    registered(ledger, "a")
    ledger.promote("housing", 1, "ann", "made again")
    assert [e.kind for e in ledger.history() if "bundle" in e.kind] == ["bundle removed", "bundle restored"]
    assert ledger.verify().intact


def test_canary_steps(ledger: Ledger) -> None:
    """Steps change the canary's share and its revision; the rest stays with production; 0 ends it."""
    approved(ledger)
    approved(ledger, "b")
    approved(ledger, "c")
    with pytest.raises(GateRefusal, match="nothing is in production"):
        ledger.canary("housing", 2, 5, "ann", "try")
    ledger.promote("housing", 1, "ann", "first")
    with pytest.raises(GateRefusal, match="it is in production itself"):
        ledger.canary("housing", 1, 5, "ann", "try")
    assert ledger.canary("housing", 2, 5, "ann", "try") == Slot("housing", "canary", 2, 5.0, 1)
    assert ledger.canary("housing", 2, 5, "ann", "try") == Slot("housing", "canary", 2, 5.0, 1)
    assert ledger.canary("housing", 2, 0.1, "ann", "less", expected_revision=1).percent == 0.1
    assert ledger.slot("housing").percent == pytest.approx(99.9)
    with pytest.raises(ConflictError, match="canary of housing is at revision 2, not 1: ann was first"):
        ledger.canary("housing", 2, 10, "bob", "more", expected_revision=1)
    for other in (
        lambda: ledger.canary("housing", 3, 5, "bob", "me"),
        lambda: ledger.promote("housing", 3, "bob", "me"),
    ):
        with pytest.raises(ConflictError, match="version 2 is the canary of housing: ann was first"):
            other()
    for version in (1, 2):
        with pytest.raises(GateRefusal, match="part of a canary"):
            ledger.move("housing", version, "archived", "bob", "away")
    assert ledger.canary("housing", 2, 0, "ann", "enough") == Slot("housing", "canary", None, 0.0, 3)
    assert ledger.canary("housing", 2, 0, "ann", "enough").revision == 3
    assert ledger.version("housing", 2).stage == "staging"
    ledger.canary("housing", 2, 100, "ann", "bake")
    assert ledger.promote("housing", 2, "ann", "good").percent == 100
    assert ledger.slot("housing", "canary") == Slot("housing", "canary", None, 0.0, 5)
    assert ledger.verify().intact


@pytest.mark.parametrize("percent", [-1, -0.001, 100.5, float("nan")])
def test_impossible_shares_are_refused(ledger: Ledger, percent: float) -> None:
    """A share outside of 0 to 100 is a wrong call."""
    approved(ledger)
    with pytest.raises(UsageError, match="expected 0 to 100"):
        ledger.canary("housing", 1, percent, "ann", "x")


# What served when


def test_at_tells_what_served(ledger: Ledger, clock: Clock) -> None:
    """Over a timeline of steps, each moment has the versions and shares of that moment, a change counting at once."""

    def served(hours: float) -> dict[int, float]:
        return {row.version: row.traffic_percent for row in ledger.at("housing", NOON + timedelta(hours=hours))}

    approved(ledger)
    approved(ledger, "b")
    clock.pass_hours(1)
    ledger.promote("housing", 1, "ann", "first")
    clock.pass_hours(1)
    ledger.canary("housing", 2, 5, "ann", "step")
    clock.pass_hours(1)
    ledger.canary("housing", 2, 50, "ann", "step")
    clock.pass_hours(1)
    ledger.promote("housing", 2, "ann", "good")
    clock.pass_hours(1)
    ledger.rollback("housing", "bob", "bad")
    timeline = {0: {}, 0.99: {}, 1: {1: 100}, 2: {1: 95, 2: 5}, 2.99: {1: 95, 2: 5}, 3: {1: 50, 2: 50}}
    timeline |= {4: {2: 100}, 4.99: {2: 100}, 5: {1: 100}, 1000: {1: 100}}
    assert {hours: served(hours) for hours in timeline} == timeline
    berlin = (NOON + timedelta(hours=2)).astimezone(datetime.fromisoformat("2026-01-01T00:00+01:00").tzinfo)
    assert [row.version for row in ledger.at("housing", berlin)] == [1, 2]
    first = ledger.deployments("housing")[0]
    assert first == Deployment(
        "housing", 1, "this machine", 100.0, NOON + timedelta(hours=1), NOON + timedelta(hours=2)
    )
    assert [row.ended for row in ledger.deployments("housing")].count(None) == 1


def test_at_needs_a_zone(ledger: Ledger) -> None:
    """A time without a zone is ambiguous and refused."""
    with pytest.raises(UsageError, match="has no time zone"):
        ledger.at("housing", datetime(2026, 11, 24, 12))


def test_a_clock_set_back_does_not_reorder_history(ledger: Ledger, clock: Clock) -> None:
    """Events never go back in time, so that no deployment ends before it starts."""
    approved(ledger)
    approved(ledger, "b")
    ledger.promote("housing", 1, "ann", "first")
    clock.pass_hours(-5)
    ledger.promote("housing", 2, "ann", "second")
    assert {event.at for event in ledger.history()} == {NOON}
    assert [row.version for row in ledger.at("housing", NOON)] == [2]


# History


def lived_in(ledger: Ledger) -> None:
    approved(ledger)
    approved(ledger, "b")
    ledger.promote("housing", 1, "ann", "first")
    ledger.canary("housing", 2, 5, "ann", "step")
    ledger.promote("housing", 2, "ann", "good", {"rmse": 41.0})


TAMPERINGS = {
    "reason-edited": ("UPDATE event SET reason = 'praised' WHERE seq = 3", "event 3 .* was changed"),
    "actor-edited": ("UPDATE event SET actor = 'eve' WHERE seq = 9", "event 9 .* was changed"),
    "time-edited": ("UPDATE event SET at = '2026-11-24T11:00:00.000000Z' WHERE seq = 5", "event 5 .* was changed"),
    "report-edited": (
        "UPDATE event SET detail = replace(detail, '41.0', '40.0') WHERE kind = 'promoted' AND revision = 2",
        "was changed",
    ),
    "detail-broken": ("UPDATE event SET detail = '{' WHERE seq = 2", "a row cannot be read"),
    "first-removed": ("DELETE FROM event WHERE seq = 1", "event 1 is missing"),
    "middle-removed": ("DELETE FROM event WHERE seq = 4", "event 4 is missing"),
    "last-removed": ("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)", "ends at event .* written up to"),
    "removed-and-closed-up": (
        "DELETE FROM event WHERE seq = 4; UPDATE event SET seq = seq - 1 WHERE seq > 4",
        "event 4 does not follow event 3",
    ),
    "swapped": (
        "UPDATE event SET seq = -1 WHERE seq = 3; UPDATE event SET seq = 3 WHERE seq = 6; "
        "UPDATE event SET seq = 6 WHERE seq = -1",
        "event 3 does not follow",
    ),
    "added": (
        "INSERT INTO event SELECT seq + 1, at, model, kind, version, 'x', 9, actor, reason, detail, hash, hash "
        "FROM event WHERE seq = (SELECT max(seq) FROM event)",
        "was changed after",
    ),
    "digest-edited": ("UPDATE version SET digest = 'evil' WHERE version = 2", "version 2 of housing .* says: digest"),
    "approval-edited": ("UPDATE version SET approval = 'rejected' WHERE version = 1", "says: approval"),
    "version-removed": ("DELETE FROM version WHERE version = 1", "version 1 of housing"),
    "slot-edited": ("UPDATE slot SET version = 1 WHERE name = 'production'", "slot production of housing"),
    "deployment-edited": ("UPDATE deployment SET traffic_percent = 6 WHERE version = 2", "the deployments are not"),
    "deployment-removed": ("DELETE FROM deployment WHERE id = 1", "the deployments are not"),
}


@pytest.mark.parametrize(("sql", "told"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_seen(ledger: Ledger, tmp_path: Path, sql: str, told: str) -> None:
    """An edited, removed, added or reordered row, of the history or of a table, is named by verify."""
    lived_in(ledger)
    assert ledger.verify().intact
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.executescript(sql)
    connection.close()
    found = ledger.verify()
    assert not found.intact
    assert re.search(told, found.sentence), found.sentence


def test_verify_names_the_head(ledger: Ledger) -> None:
    """The head is the newest event's hash, worth keeping elsewhere; each event holds the one before."""
    lived_in(ledger)
    events = ledger.history()
    found = ledger.verify()
    assert (found.head, found.events) == (events[-1].hash, len(events))
    assert [event.previous_hash for event in events[1:]] == [event.hash for event in events[:-1]]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_history_is_by_model(ledger: Ledger) -> None:
    """One model's history holds its own events, the whole one all."""
    registered(ledger)
    registered(ledger, model="other")
    assert {event.model for event in ledger.history("other")} == {"other"}
    assert len(ledger.history()) == 4


def test_the_ledger_survives_reopening(ledger: Ledger, tmp_path: Path) -> None:
    """A second opening finds what the first wrote, by path or by URL."""
    lived_in(ledger)
    again = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert again.history() == ledger.history()
    assert again.verify().intact


# Opening


@pytest.mark.parametrize(
    ("address", "told"),
    [
        pytest.param("sqlite://", "would forget", id="memory"),
        pytest.param("nonsense://x/y", "expected 'sqlite:///file.db'", id="unknown-database"),
        pytest.param("://", "expected 'sqlite:///file.db'", id="no-address"),
    ],
)
def test_addresses_that_cannot_be_a_ledger(address: str, told: str) -> None:
    """A wrong address says what was expected."""
    with pytest.raises(ConfigError, match=told):
        open_ledger(address)


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    """A file of something else is named and left alone."""
    path = tmp_path / "notes.txt"
    path.write_text("shopping list " * 100)
    with pytest.raises(ConfigError, match="is not a ledger"):
        open_ledger(str(path))
    assert path.read_text().startswith("shopping list")


def test_a_newer_ledger_is_left_alone(ledger: Ledger, tmp_path: Path) -> None:
    """A ledger of a newer Slipway is refused rather than misread."""
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.executescript("UPDATE alembic_version SET version_num = 3")
    connection.close()
    with pytest.raises(ConfigError, match="schema 3 and this Slipway knows 2"):
        open_ledger(str(tmp_path / "ledger.db"))


def test_a_locked_ledger_is_an_infrastructure_error(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not let us in is told in one sentence, and nothing is changed."""
    registered(ledger)
    monkeypatch.setattr(ledger_database, "BUSY_TIMEOUT_S", 0.05)
    impatient = open_ledger(str(tmp_path / "ledger.db"))
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(InfrastructureError, match="does not answer: database is locked; nothing was changed"):
        impatient.approve("housing", 1, "ann", "x")
    assert impatient.version("housing", 1).approval == "pending"
    holder.close()


@pytest.mark.parametrize("dialect", [mysql.dialect(), postgresql.dialect()], ids=["mysql", "postgres"])
def test_the_tables_are_portable(dialect: sa.Dialect) -> None:
    """Every table can be stated in the dialects of the cluster's databases."""
    tables = ledger_schema.metadata.sorted_tables
    assert tables
    for table in tables:
        assert "CREATE TABLE" in str(sa.schema.CreateTable(table).compile(dialect=dialect))


# Everything at once


class LedgerMachine(RuleBasedStateMachine):
    """Any order of calls: each succeeds or is refused, and the invariants hold after every one."""

    path: Path
    count = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        self.clock = Clock()
        self.ledger = open_ledger(str(self.path / f"{self.count}.db"), now=self.clock)

    def attempt(self, call: Callable[[], object]) -> None:
        self.clock.pass_hours(1)
        before = self.ledger.history()
        try:
            call()
        except SlipwayError:
            assert self.ledger.history() == before
        assert self.ledger.history()[: len(before)] == before

    @rule(digest=st.sampled_from("abcd"), stage=st.sampled_from(["development", "staging"]))
    def register(self, digest: str, stage: Any) -> None:
        self.attempt(lambda: registered(self.ledger, digest, stage=stage))

    @precondition(lambda self: self.ledger.versions("housing"))
    @rule(version=st.integers(1, 4), yes=st.sampled_from([True, True, True, False]))
    def judge(self, version: int, yes: bool) -> None:
        act = self.ledger.approve if yes else self.ledger.reject
        self.attempt(lambda: act("housing", version, "ann", "x"))

    @precondition(lambda self: self.ledger.versions("housing"))
    @rule(version=st.integers(1, 4), stage=st.sampled_from(STAGES))
    def move(self, version: int, stage: Stage) -> None:
        self.attempt(lambda: self.ledger.move("housing", version, stage, "ann", "x"))

    @precondition(lambda self: self.ledger.versions("housing"))
    @rule(version=st.integers(1, 4), stale=st.sampled_from([None, None, 0, 1]))
    def promote(self, version: int, stale: int | None) -> None:
        self.attempt(lambda: self.ledger.promote("housing", version, "ann", "x", expected_revision=stale))

    @precondition(lambda self: self.ledger.versions("housing"))
    @rule(version=st.integers(1, 4), percent=st.sampled_from([0, 5, 50, 100]))
    def canary(self, version: int, percent: int) -> None:
        self.attempt(lambda: self.ledger.canary("housing", version, percent, "ann", "x"))

    @precondition(lambda self: self.ledger.versions("housing"))
    @rule()
    def rollback(self) -> None:
        self.attempt(lambda: self.ledger.rollback("housing", "ann", "x"))

    @precondition(lambda self: self.ledger.versions("housing"))
    @rule(version=st.integers(1, 4))
    def drop_bundle(self, version: int) -> None:
        self.attempt(lambda: self.ledger.drop_bundle("housing", version, "ann", "x"))

    @invariant()
    def what_has_traffic_or_waits_for_a_rollback_has_its_bundle(self) -> None:
        for slot in self.ledger.slots("housing").values():
            if slot.version is not None:
                self.ledger.require_bundle("housing", slot.version)

    @invariant()
    def consistent(self) -> None:
        slots, versions = self.ledger.slots("housing"), self.ledger.versions("housing")
        serving = [version.version for version in versions if version.stage == "production"]
        assert serving == [v for v in [slots["production"].version] if v is not None]
        if slots["canary"].version is not None:
            assert self.ledger.version("housing", slots["canary"].version).stage == "staging"
        assert slots["previous"].version is None or slots["previous"].version != slots["production"].version
        events = self.ledger.history()
        for name, slot in slots.items():
            assert slot.revision == sum(event.slot == name for event in events)
        now = self.ledger.at("housing", self.clock())
        shares = {slot.version: slot.percent for slot in slots.values() if slot.version and slot.name != "previous"}
        assert {row.version: row.traffic_percent for row in now} == shares
        assert sum(shares.values()) == (100 if serving else 0)
        verification = self.ledger.verify()
        assert verification.intact, verification.sentence


def test_any_order_of_calls_keeps_the_invariants(tmp_path: Path) -> None:
    """Stage production and slot agree, shares sum to 100, revisions count events, and the history verifies."""
    machine = type("Machine", (LedgerMachine,), {"path": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=6,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_move_has_a_route() -> None:
    """A route is made of allowed moves only, and the way back into production leads through staging."""
    assert route("archived", "production") == ("staging", "production")
    assert route("staging", "staging") == ()
    for source in STAGES:
        for target in STAGES[1:]:
            steps = (source, *route(source, target))
            assert all(after in MOVES[before] for before, after in itertools.pairwise(steps))
    with pytest.raises(ValueError, match="no way from stage archived to development"):
        route("archived", "development")

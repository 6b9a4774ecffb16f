"""What the history says of each kind of event, in words, and that nothing else is written or read."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.ledger.details import _KINDS, Moved, detail_of, told
from serving.ledger.ledger import Ledger, open_ledger
from tests.serving.ledger.facts import facts

TOLD = {
    "registered": "bundle 000000000000 of run 01",
    "moved": "from development to staging",
    "approved": "by a person",
    "rejected": "by the project's policy",
    "promoted": "100 % of traffic",
    "canary": "20 % of traffic, by x-user",
    "canary ended": "the slot is empty, before: version 2",
    "previous": "kept for a rollback",
    "rolled back": "100 % of traffic, before: version 2",
    "retired": "the slot is empty, before: version 1",
    "bundle removed": "bundle 000000000000",
    "bundle restored": "bundle 000000000000",
}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """One in which everything has happened."""
    made = open_ledger(str(tmp_path / "ledger.db"))
    for number in (1, 2, 3):
        made.register("housing", facts(f"{number:064}"), "ann")
        made.approve("housing", number, "ann", "fine")
    made.reject("housing", 3, "gate", "worse", policy="auto")
    made.promote("housing", 1, "ann", "first")
    made.canary("housing", 2, 20, "ann", "experiment", sticky_header="x-user")
    made.canary("housing", 2, 0, "ann", "enough")
    made.promote("housing", 2, "ann", "better", {"rmse": 41.0})
    made.rollback("housing", "ann", "worse after all")
    made.move("housing", 1, "archived", "ann", "out of service")
    made.move("housing", 3, "archived", "ann", "worse")
    made.drop_bundle("housing", 3, "ann", "slipway clean")
    made.register("housing", facts(f"{3:064}"), "ann")
    return made


def test_every_kind_of_event_is_told_with_words(ledger: Ledger) -> None:
    """`slipway models history` has a sentence for each kind that is ever written, and each kind is written."""
    first = {event.kind: told(event) for event in reversed(ledger.history())}
    assert first == TOLD
    assert set(first) == set(_KINDS)


def test_what_is_read_is_what_was_written(ledger: Ledger) -> None:
    """Each event's detail has the same fields as JSON and with names."""
    events = ledger.history()
    assert events
    for event in events:
        assert detail_of(event).to_json() == event.detail


def test_a_detail_of_nobody_is_told_as_such(ledger: Ledger) -> None:
    """An edited history is shown, not ended with a traceback; and no event is written with another kind's detail."""
    event = ledger.history()[0]
    for strange in (replace(event, kind="praised"), replace(event, detail={"to_stage": "staging"})):
        assert told(strange) == "cannot be read"
        with pytest.raises(ValueError, match="is not of this Slipway"):
            detail_of(strange)
    with (
        pytest.raises(ValueError, match="'approved' has no detail Moved"),
        ledger._writing("ann", "x") as writing,
    ):
        writing.append("housing", "approved", 1, Moved(source="development", target="staging"))

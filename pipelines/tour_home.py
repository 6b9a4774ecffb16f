"""The place of a tour: what the one before it left is put aside, so that each begins at version 1."""

from datetime import UTC, datetime
from pathlib import Path

from components.core.place import Place, local_path
from components.core.story_page import story_page
from pipelines.tour import Played, Story
from pipelines.tour_figures import page_of
from serving.errors import ConflictError
from serving.files import write_json, write_text
from serving.local import client
from serving.release import serves, service_directory

MARK = "tour.json"
OF_ONE_TOUR = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "serving", "runs", "watch", "loop", "tour", "report.html")


def prepare(place: Place, model: str) -> None:
    """Make *place* ready: what an earlier tour left is moved to ``earlier/``, and its endpoint ended.

    What its runs computed stays in the cache, so an interrupted tour is soon back where it was.

    Raises:
        ConflictError: the ledger holds versions that no tour made.
    """
    mark = place.root / MARK
    ledger = local_path(place.ledger.removeprefix("sqlite://"), "ledger")
    if ledger.exists() and not mark.exists():
        raise ConflictError(
            f"{place.home} holds versions that no tour made, and a tour begins at version 1; "
            "give it a place of its own: slipway --home DIR tour"
        )
    if mark.exists():
        _put_aside(place, model)
    write_json(mark, {"finished": False})


def _put_aside(place: Place, model: str) -> None:
    directory = service_directory(place.serving, model)
    if serves(directory):
        client.stop(directory)
    aside = place.root / "earlier" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    for name in OF_ONE_TOUR:
        if (place.root / name).exists():
            aside.mkdir(parents=True, exist_ok=True)
            (place.root / name).rename(aside / name)


def finish(place: Place, story: Story, played: Played, *, address: str, kept: bool) -> Path:
    """Write the page and mark the tour as played."""
    page = place.root / "report.html"
    write_text(page, story_page(page_of(place, story, played, address=address, kept=kept)))
    write_json(place.root / MARK, {"finished": True})
    return page

"""The place of a tour: what the one before it left is put aside, so that each begins at version 1.

A tour that came to its end is a result like that of a step: as long as neither code nor project has changed, it stands.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from components.pages.story_page import story_page
from components.projects.project import Project
from components.steps.code_digest import code_digest
from components.steps.place import Place, local_path
from pipelines.housing.tour.figures import page_of
from pipelines.housing.tour.tour import Happening, Played, TourLog
from serving.errors import ConflictError
from serving.files import canonical_json, read_json, sha256_bytes, write_json, write_text
from serving.ledger.ledger import open_ledger
from serving.local import client
from serving.local.paths import service_directory

MARK = "tour.json"
OF_ONE_TOUR = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "serving", "runs", "watch", "loop", "tour", "report.html")


def key_of(project: Project, world: str) -> str:
    """What a tour depends on: the code, the project, and how the market goes on."""
    return sha256_bytes(canonical_json([code_digest(), project.model_dump_json(), world]))


def recorded(place: Place, key: str) -> tuple[datetime, list[Happening]] | None:
    """When the finished tour of *key* ended, and its lines; None when there is none, or what it left is not whole."""
    mark, page = place.root / MARK, place.root / "report.html"
    if not mark.exists() or not page.exists():
        return None
    found: dict[str, Any] = read_json(mark)
    if found.get("key") != key or not open_ledger(place.ledger).verify().intact:
        return None
    return datetime.fromisoformat(found["ended"]), [Happening(**line) for line in found["lines"]]


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
    client.stop(service_directory(place.serving, model))
    aside = place.root / "earlier" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    for name in OF_ONE_TOUR:
        if (place.root / name).exists():
            aside.mkdir(parents=True, exist_ok=True)
            (place.root / name).rename(aside / name)


def finish(place: Place, story: TourLog, played: Played, *, key: str, address: str, kept: bool) -> None:
    """Write the page and mark the tour of *key* as played, with the lines it printed."""
    write_text(place.root / "report.html", story_page(page_of(place, story, played, address=address, kept=kept)))
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [asdict(line) for line in story.happenings]
    write_json(place.root / MARK, {"finished": True, "key": key, "ended": ended, "lines": lines})

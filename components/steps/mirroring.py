"""MLflow is brought up to the ledger by a process of its own, so that no change and no run depends on how it answers.

Who changed the ledger, or looks after it, asks for that process and waits as long as suits. It notes below the home
which head of the ledger's history MLflow shows, or what is missing and why; the first who looks tells that to people.
The ledger decides what MLflow shows, so nothing is lost when the process is killed: the next one brings the rest.
"""

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.errors import SlipwayError
from serving.files import write_text
from serving.locks import file_lock

log = logging.getLogger(__name__)

PROCESS = "components.recording.catching_up"
LIMIT_S = 300.0  # of the process, whatever hangs; a server that is silent is given up after seconds
PATIENCE_S = 15.0  # of a person whose change is made already
LOOK_S = 5.0  # between two looks of who looks after a ledger
AGAIN_S = (60.0, 900.0)  # between two attempts: as long as it has failed already, but not shorter or longer
LATER = "the next change, run or `slipway ui` brings it"


@dataclass(frozen=True)
class Mirrored:
    """What the last process left.

    Attributes:
        head: of the ledger's history as MLflow shows it.
        trouble: what is missing and why; empty when nothing is.
        since, tried: when that began, and when it was tried last; seconds since 1970.
    """

    head: str = ""
    trouble: str = ""
    since: float = 0.0
    tried: float = 0.0

    def due(self, head: str, now: float) -> bool:
        """Whether it is time to try again, now that the ledger is at *head*."""
        if self.head == head:
            return False
        shortest, longest = AGAIN_S
        return not self.trouble or now - self.tried >= min(longest, max(shortest, self.tried - self.since))

    def after(self, head: str, trouble: str, now: float) -> "Mirrored":
        """With what an attempt came to."""
        return Mirrored(head, trouble, self.since if self.trouble and trouble else now, now)


def lock(home: Path) -> contextlib.AbstractContextManager[None]:
    """Held by the one process that works; others wait for it, and then mostly find nothing left to do."""
    return file_lock(home / "mirror" / "lock")


def read(home: Path) -> Mirrored:
    """The note of the last process; an empty one where there is none that can be read."""
    try:
        return Mirrored(**json.loads(_note(home).read_bytes()))
    except (OSError, ValueError, TypeError):
        return Mirrored()


def write(home: Path, state: Mirrored) -> None:
    write_text(_note(home), json.dumps(asdict(state)))
    if not state.trouble:
        _told(home).unlink(missing_ok=True)


def start(place: Mapping[str, str], *, always: bool = False, record: Path | None = None) -> "subprocess.Popen[bytes]":
    """The process for the fields of a *place*; it goes on when we end.

    Args:
        always: look into MLflow also where the note says that all is there.
        record: of a run, that waits elsewhere than below the place's home.
    """
    arguments = [sys.executable, "-m", PROCESS, *(["--always"] if always else []), *([str(record)] if record else [])]
    null = subprocess.DEVNULL
    child = subprocess.Popen(  # noqa: S603 - our own module; its own session: Ctrl-C and the end of a run are not for it
        arguments, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
    )
    assert child.stdin is not None  # noqa: S101 - as asked for
    with child.stdin as pipe:  # not as an argument, where everybody reads it: addresses may hold passwords
        pipe.write(json.dumps(dict(place)).encode())
    return child


def settle(child: "subprocess.Popen[bytes]", home: Path, limit_s: float) -> str:
    """Wait for the process *child*, and say what is missing; empty when nothing is or it was told before."""
    try:
        code = child.wait(limit_s)
    except subprocess.TimeoutExpired:
        threading.Thread(target=child.wait, daemon=True).start()  # somebody has to hear of its end
        return _once(home, f"MLflow has not taken it within {limit_s:g} s; {LATER}")
    trouble = read(home).trouble
    return _once(home, trouble or (f"what brings MLflow up to date ended with code {code}; {LATER}" if code else ""))


def follow(place: Mapping[str, str], head: Callable[[], str], stopping: threading.Event) -> threading.Thread:
    """Have a thread keep MLflow at the *head* of the ledger until *stopping*; a look costs one query."""

    def looks() -> None:
        home = Path(place["home"])
        while not stopping.wait(LOOK_S):
            try:
                if read(home).due(head(), time.time()) and (missing := settle(start(place), home, 2 * LIMIT_S)):
                    log.warning("MLflow is behind the ledger: %s", missing)
            except (OSError, SlipwayError) as error:  # whose trouble it is says so by itself
                log.info("MLflow was not looked after: %s", error)

    thread = threading.Thread(target=looks, name="mirror", daemon=True)
    thread.start()
    return thread


def _once(home: Path, trouble: str) -> str:
    """*trouble*, unless somebody has told of some since MLflow was last up to date."""
    if not trouble or _told(home).exists():
        return ""
    with contextlib.suppress(OSError, SlipwayError):  # told once more is better than never
        write_text(_told(home), trouble)
    return trouble


def _note(home: Path) -> Path:
    return home / "mirror" / "state.json"


def _told(home: Path) -> Path:
    return home / "mirror" / "told.txt"

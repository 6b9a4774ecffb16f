"""Child processes that outlive their parent and can be found again.

A process is named by its number and its start time together, since numbers are used again. Children get a session of
their own, so that neither a signal to the supervisor's terminal nor the supervisor's end takes them along.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no annotations

from serving.errors import PlaceError
from serving.files import last_lines
from serving.local.state import Running

LOG_LIMIT = 16 << 20  # bytes; a longer log is put aside as <name>.log.1 when its process starts again
CLOCK_SLACK_S = 2.0  # the system computes start times from a boot time that it may correct by a second
_SKIPPED = re.compile(r"^\s*(\^+|File \".*|Traceback .*)?\s*$")


class Children:
    """The processes that a supervisor looks after: those that it started, which it must also reap, and adopted ones."""

    def __init__(self) -> None:
        self._popen: dict[int, subprocess.Popen[bytes]] = {}
        self._adopted: dict[int, int] = {}  # a descriptor by the number of the process

    def start(self, command: Sequence[str], log: Path) -> Running:
        """Start *command*, its output appended to *log*.

        Raises:
            PlaceError: the program is not there or may not be run.
        """
        _put_aside(log)
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(  # noqa: S603  (the command comes from our own template, no shell)
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise PlaceError(f"cannot start {command[0]}: {error.strerror}; is it installed here?") from error
        self._popen[child.pid] = child
        return Running(command=tuple(command), pid=child.pid, started=_started(child.pid))

    def ended(self, process: Running) -> tuple[bool, int | None]:
        """Whether *process* has ended, and its exit code where this supervisor was its parent."""
        child = self._popen.get(process.pid or 0)
        if child is None:
            return self._adopted_ended(process), None
        code = child.poll()
        if code is None:
            return False, None
        del self._popen[child.pid]
        return True, code

    def _adopted_ended(self, process: Running) -> bool:
        if process.pid not in self._adopted and not self._watch(process):
            return True
        descriptor = self._adopted[process.pid or 0]
        if not select.select([descriptor], [], [], 0)[0]:
            return False
        os.close(self._adopted.pop(process.pid or 0))
        return True

    def _watch(self, process: Running) -> bool:
        """Get a descriptor, which tells the end of *process* for less than looking it up each time; False: it ended."""
        with contextlib.suppress(ProcessLookupError):
            if process.pid is not None and alive(process):
                self._adopted[process.pid] = os.pidfd_open(process.pid)
        return process.pid in self._adopted


def alive(process: Running) -> bool:
    """True while the very process runs; one that only waits to be reaped counts as ended."""
    if process.pid is None:
        return False
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started) <= CLOCK_SLACK_S
        return bool(same and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def found_again(process: Running) -> Running | None:
    """The living process of that record, also when its number was not yet written down; None when there is none."""
    if process.pid is not None:
        return process if alive(process) else None
    for candidate in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if tuple(candidate.cmdline()) == process.command and candidate.status() != psutil.STATUS_ZOMBIE:
                return Running(command=process.command, pid=candidate.pid, started=candidate.create_time())
    return None


def terminate(process: Running, *, force: bool = False) -> None:
    """Ask *process* and what it started to end, or with *force* end them; a process that is gone is fine."""
    if process.pid is None or not alive(process):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


def own_start() -> float:
    return _started(os.getpid())


def tail(log: Path, lines: int = 3, limit: int = 600) -> str:
    """The last telling lines of *log* on one line, for a sentence about what went wrong."""
    told = [line.strip() for line in last_lines(log, 8192) if not _SKIPPED.match(line)]
    return " | ".join(told[-lines:])[-limit:]


def _started(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _put_aside(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_name(f"{log.name}.1"))

"""What a step's log says about itself: its summary, and when it failed, why."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from components.steps import failing, telling

TAIL = 1 << 20  # bytes; a traceback and the markers are at the end, and a chatty step may have written gigabytes
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(:|$)")


@dataclass(frozen=True)
class Cause:
    """Why a step failed, in one sentence, and the exit code of that family (1 when it is nobody's)."""

    sentence: str
    exit_code: int


def log_of(logs: Path, task: str) -> Path:
    """The log of *task* in the folder *logs*."""
    return logs / f"{task.replace('/', '.')}.log"


def summary(lines: list[str]) -> str | None:
    return _last(lines, telling.MARKER)


CUT_SHORT = "the step failed, and the disk was too full to say why"


def outcome(lines: list[str]) -> str | None:
    """What the step came to, in the one word that it returned."""
    return _last(lines, telling.OUTCOME)


def _last(lines: list[str], marker: str) -> str | None:
    said = [line.removeprefix(marker).strip() for line in lines if line.startswith(marker)]
    return said[-1] if said else None


def cause(lines: list[str], returncode: int | None) -> Cause:
    """The sentence of an expected error, else the last exception, else how the process ended, else its last line."""
    told = [line.removeprefix(failing.MARKER) for line in lines if line.startswith(failing.MARKER)]
    if told:
        try:
            marked = json.loads(told[-1])
        except ValueError:  # only a full disk cuts a line short
            return Cause(f"{CUT_SHORT}: {told[-1]}; free some space and run the same command again", 7)
        return Cause(marked["sentence"], marked["exit_code"])
    raised = _last_exception(lines)
    if raised:
        return Cause(raised, 1)
    if killed := _signal(returncode):
        return Cause(f"the step was stopped by signal {killed}; when nobody did that, memory ran out", 7)
    said = [line.strip() for line in lines if line.strip()]
    ending = f"the step ended with exit status {returncode}"
    return Cause(f"{ending}, its last line was: {said[-1]}" if said else ending, 1)


def _last_exception(lines: list[str]) -> str | None:
    """The line below the frames of the last traceback, where Python puts the exception."""
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if not starts:
        return None
    below = (line for line in lines[starts[-1] + 1 :] if not line.startswith(" "))
    return next((line.strip() for line in below if _EXCEPTION.match(line)), None)


def _signal(returncode: int | None) -> int | None:
    """The signal behind *returncode*: negative from the process itself, 128 + n when a shell reports its child's."""
    if returncode is None or 0 <= returncode <= 128 or returncode > 160:
        return None
    return -returncode if returncode < 0 else returncode - 128

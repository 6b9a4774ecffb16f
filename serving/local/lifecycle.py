"""What becomes of a model server, given what was seen of it.

A crash is answered with a new process, later each time. A server that was never ready gets a few chances, because a
model that cannot be loaded will not load the tenth time either; one that has served is brought back for ever. Some
exit codes say that trying again is of no use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from serving.errors import DataError, GateRefusal
from serving.local.state import Server

FINAL_CODES = frozenset({DataError.exit_code, GateRefusal.exit_code})


class Move(Enum):
    """What to do with the process; at most one thing at a time."""

    NOTHING = "nothing"
    START = "start"
    KILL = "kill"


@dataclass(frozen=True)
class Limits:
    """Times in seconds.

    Attributes:
        ready_s: from the start of the process to its first readiness.
        silent_s: a server that was ready loses that when it has not answered for so long.
        hung_s: a server that has not answered for so long is replaced.
        backoff_s, backoff_max_s: pause before the second start, doubled for each further one up to the maximum.
        chances: starts without readiness before a revision that was never ready counts as failed.
    """

    ready_s: float = 120.0
    silent_s: float = 5.0
    hung_s: float = 60.0
    backoff_s: float = 0.5
    backoff_max_s: float = 15.0
    chances: int = 3


@dataclass(frozen=True)
class Look:
    """One look at the process of a server.

    Attributes:
        ended: the process is gone; *code* is its exit code where known (negative: the signal).
        answers: the readiness probe of the present process; None when none has come back since the last look.
        last_words: gives the end of its log, which is read only where it is quoted.
        refusal: the server's own word that it will not be ready, e.g. because of a signature it does not trust.
    """

    ended: bool
    code: int | None = None
    answers: bool | None = None
    last_words: Callable[[], str] = str
    refusal: str = ""


def step(server: Server, seen: Look, now: float, limits: Limits) -> tuple[Server, Move]:
    """The server's next record and what to do with its process; *now* is in seconds since 1970."""
    if server.state in ("failed", "stopping"):
        return server, Move.NOTHING
    if server.process is None:
        return server, Move.START if now >= server.retry_at else Move.NOTHING
    if seen.ended:
        return _after_end(server, seen, now, limits), Move.NOTHING
    if seen.answers:
        return _answering(server, now), Move.NOTHING
    return _silent(server, seen, now, limits)


def _answering(server: Server, now: float) -> Server:
    changes: dict[str, object] = {"answered_at": now}
    if server.state != "ready":
        changes |= {"state": "ready", "reason": "", "since": now, "crashes": 0}
        changes |= {"endpoint": server.http_port, "grpc_endpoint": server.grpc_port}
    return server.model_copy(update=changes)


def _silent(server: Server, seen: Look, now: float, limits: Limits) -> tuple[Server, Move]:
    if server.answered_at == 0.0:
        return _not_ready_yet(server, seen, now, limits)
    silence = now - server.answered_at
    if silence > limits.hung_s:
        reason = f"did not answer for {silence:.0f} s and is replaced{_quoted(seen)}"
        return server.model_copy(update={"state": "starting", "reason": reason, "answered_at": now}), Move.KILL
    if silence > limits.silent_s:
        reason = f"has not answered its readiness probe for {silence:.0f} s"
        return server.model_copy(update={"state": "starting", "reason": reason}), Move.NOTHING
    return server, Move.NOTHING


def _not_ready_yet(server: Server, seen: Look, now: float, limits: Limits) -> tuple[Server, Move]:
    if now - server.since <= limits.ready_s and not seen.refusal:
        return server, Move.NOTHING
    reason = seen.refusal or f"was not ready {limits.ready_s:g} s after its start{_quoted(seen)}"
    state = "starting" if server.endpoint else "failed"
    return server.model_copy(update={"state": state, "reason": reason, "since": now}), Move.KILL


def _after_end(server: Server, seen: Look, now: float, limits: Limits) -> Server:
    crashes = server.crashes + 1
    reason = f"{_ending(seen.code)}{_quoted(seen)}"
    pause = min(limits.backoff_s * 2 ** (crashes - 1), limits.backoff_max_s)
    never_ready = server.endpoint == 0
    hopeless = never_ready and (crashes >= limits.chances or seen.code in FINAL_CODES)
    if hopeless and crashes > 1:
        reason = f"ended {crashes} times before it was ready; {reason}"
    changes = {"state": "failed" if hopeless else "starting", "reason": reason, "process": None}
    return server.model_copy(update={**changes, "answered_at": 0.0, "crashes": crashes, "retry_at": now + pause})


def _ending(code: int | None) -> str:
    if code is None:
        return "ended"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _quoted(seen: Look) -> str:
    words = seen.last_words()
    return f"; its log ends: {words}" if words else ""

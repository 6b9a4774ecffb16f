"""How the sentence of an expected error leaves a step, whose only other voice is a log full of tracebacks."""

import contextlib
import json
from collections.abc import Callable, Iterator

from components.steps.telling import tell
from serving.errors import SlipwayError

MARKER = "SLIPWAY-ERROR"


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Print a ``SlipwayError`` of the block as one marked line of JSON (sentence, exit_code, kind) and raise it again.

    The runner reads the line from the step's log, here and on a cluster; any other exception passes untouched.
    """
    try:
        yield
    except SlipwayError as error:
        line = {"sentence": str(error), "exit_code": error.exit_code, "kind": type(error).__name__}
        print(f"{MARKER} {json.dumps(line)}", flush=True)
        raise


@contextlib.contextmanager
def spared(missing: str, remedy: str, say: Callable[[str], None] = tell) -> Iterator[None]:
    """Whatever the block raises becomes a warning by *say*: what is only looked at stops nothing.

    Args:
        missing: what is then not there, e.g. "run 01 is not in MLflow".
        remedy: how it is made up for afterwards.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - other people's servers, disks and libraries fail in any way
        say(f"warning: {missing}: {' '.join(str(error).split()) or type(error).__name__}; {remedy}")

"""How the sentence of an expected error leaves a step, whose only other voice is a log full of tracebacks."""

import contextlib
import json
from collections.abc import Iterator

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

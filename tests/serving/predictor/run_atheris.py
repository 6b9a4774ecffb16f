"""``python -m tests.serving.predictor.run_atheris v1|v2 DIRECTORY [libFuzzer options]``: decoders, fuzzed.

Run with NUMBA_DISABLE_JIT=1: the compiled loops are then Python, their branches lead the fuzzer, and an index behind
the end of an array is an IndexError. An input on which two readers disagree, or that raises anything but a refusal,
ends the process with its traceback.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-untyped]  # ships no annotations
import numpy as np

with atheris.instrument_imports(include=["serving.predictor"]):
    from serving.predictor.rows import large
    from serving.predictor.rows import v2 as v2_rows
    from serving.predictor.rows.v1 import Decoder

from tests.serving.predictor.corpus import TOKENS, bodies, calls, outcome, slow_v1, slow_v2
from tests.serving.predictor.support import HOUSE

MAX_ROWS = 5000
READER = Decoder(HOUSE, MAX_ROWS)
_ROWS = large._rows


def with_closing_zero(body: Any, *rest: Any) -> Any:
    """The compiled loop may see the zero behind the last byte of ``bytes``; here it has to be put there."""
    return _ROWS(np.append(body, np.uint8(0)), *rest)


def v1(body: bytes) -> None:
    said = outcome(READER.decode, body)
    assert outcome(READER.decode_large, body) == said
    if not isinstance(said[0], int) or said[1]:
        assert outcome(slow_v1, READER.checker, body) == said


def v2(data: bytes) -> None:
    """The first two bytes say how many of the others are JSON; zero: all."""
    length = int.from_bytes(data[:2], "little")
    call = data[2:], length or None
    said = outcome(lambda: v2_rows.decode(READER.checker, *call, MAX_ROWS).rows)
    if not isinstance(said[0], int):
        assert outcome(slow_v2, READER.checker, call) == said


def write_corpus(which: str, directory: Path) -> None:
    seeds = bodies(HOUSE)
    if which == "v2":
        seeds = [(length or 0).to_bytes(2, "little") + body for body, length in calls(HOUSE)]
    for i, seed in enumerate(seeds):
        (directory / f"seed-{i}").write_bytes(seed)
    words = {token for token in TOKENS if token and len(token) < 60}
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in sorted(words)]
    (directory.parent / f"{which}.dict").write_text("\n".join(lines))


def main(which: str, place: str, *options: str) -> None:
    large._rows = with_closing_zero  # type: ignore[assignment]  # in place of the compiled loop
    warnings.simplefilter("ignore", RuntimeWarning)  # wrapping of uint64 is silent in compiled code only
    corpus = Path(place) / which
    corpus.mkdir(exist_ok=True)
    write_corpus(which, corpus)
    target = {"v1": v1, "v2": v2}[which]
    atheris.Setup([sys.argv[0], *options, f"-dict={place}/{which}.dict", str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

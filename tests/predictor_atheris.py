"""``python -m tests.predictor_atheris v1|v2 DIRECTORY [libFuzzer options]``: the decoders under coverage-guided fuzzing.

Run with NUMBA_DISABLE_JIT=1: the compiled loops are then Python, their branches lead the fuzzer, and an index behind
the end of an array is an IndexError. An input on which two readers disagree, or that raises anything but a refusal,
ends the process with its traceback.
"""

import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["serving.predictor"]):
    from serving.predictor import protocol_v2, split  # noqa: F401  # instrumented here, used by the decoder
    from serving.predictor.decode import Decoder
    from serving.predictor.plain_rows import PlainRows

from tests.predictor_corpus import TOKENS, bodies, calls, outcome, slow_v1, slow_v2
from tests.predictor_support import HOUSE

MAX_ROWS = 400
READER = Decoder(HOUSE, MAX_ROWS)
PLAIN = PlainRows(HOUSE, MAX_ROWS)


def v1(body: bytes) -> None:
    said = outcome(lambda: READER.decode(body))
    assert outcome(lambda: READER.decode_large(body)) == said
    if not isinstance(said[0], int) or said[1]:
        assert outcome(lambda: slow_v1(READER.checker, body)) == said


def v2(data: bytes) -> None:
    """The first two bytes say how many of the others are JSON; zero: all."""
    length = int.from_bytes(data[:2], "little")
    call = data[2:], length or None
    said = outcome(lambda: protocol_v2.decode(READER.checker, *call, MAX_ROWS).rows)
    if not isinstance(said[0], int):
        assert outcome(lambda: slow_v2(READER.checker, call)) == said


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
    warnings.simplefilter("ignore", RuntimeWarning)  # wrapping of uint64 is silent in compiled code only
    corpus = Path(place) / which
    corpus.mkdir(exist_ok=True)
    write_corpus(which, corpus)
    target = {"v1": v1, "v2": v2}[which]
    atheris.Setup([sys.argv[0], *options, f"-dict={place}/{which}.dict", str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

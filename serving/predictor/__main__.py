"""``python -m serving.predictor``: serve the bundle of one model version."""

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import ConfigError, SlipwayError
from serving.json_lines import JsonLines
from serving.predictor.settings import Settings, parse

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle


def log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("slipway").setLevel(logging.INFO)


def open_trusted(settings: Settings) -> "Bundle":
    """The bundle that *settings* name, if a trusted key signed it.

    Raises:
        ConfigError: no trusted key is named.
        GateRefusal: the bundle is not to be loaded; the message says why.
    """
    from serving.bundle.bundle import open_bundle  # scikit-learn and numba load while probes are already answered
    from serving.bundle.signing import load_public_key

    if settings.trusted_key is None:
        raise ConfigError("no trusted key: name the public key that signed the bundle with --trusted_key")
    place = settings.trusted_key
    paths: Sequence[Path] = sorted(place.glob("*.pem")) if place.is_dir() else [place]
    keys = [load_public_key(path) for path in paths]
    return open_bundle(settings.bundle, keys, packages=settings.own_packages)


def main(argv: Sequence[str], opener: "Callable[[Settings], Bundle]" = open_trusted) -> int:
    log_to_stderr()
    gc.disable()  # what is imported stays, and to look for garbage in it is a tenth of the start; see process.settle
    try:
        settings = parse(argv)
        load_kernels()
        from serving.predictor.process import run  # slow to import, and --help does not need it

        return run(settings, lambda: opener(settings))
    except SlipwayError as error:
        print(error, file=sys.stderr)  # the one line a person sees
        return error.exit_code


class Absent(MetaPathFinder):
    """Says of *names* that they are not installed, to those who would load them only because they are.

    None in their place among the loaded modules would say so too, but scikit-learn takes what stands there for pyarrow
    itself, and then cannot encode a category.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:  # noqa: ARG002 - its protocol
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is kept out of the predictor", name=fullname)


def load_kernels() -> None:
    """Load the compiled loops without what numba would load for functions that none of them calls: 0.5 s of CPU.

    That is BLAS by way of all of scipy.linalg, C's declarations, and a reader for its settings.
    """
    meanwhile = Absent("scipy.linalg", "cffi", "yaml")
    sys.meta_path.insert(0, meanwhile)
    try:
        from serving.scoring import kernels

        kernels.prepare.load()  # the first one, for which numba loads its other half
    finally:
        sys.meta_path.remove(meanwhile)


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent("pyarrow", "watchfiles"))  # pandas and uvicorn would load them, 25 MB in all
    sys.exit(main(sys.argv[1:]))

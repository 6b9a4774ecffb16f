"""Loops that numba compiles, each at its first call; every later process takes its machine code from numba's cache.

Signatures are explicit, so that one call never compiles anew for an array that may be written or not, and an image can
fill the cache before there is a model (``load_all``). All loops release the interpreter lock.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba as nb

F8, F4, I4, I8, B1, U1 = nb.float64, nb.float32, nb.int32, nb.int64, nb.boolean, nb.uint8
OUT = F8[:, ::1]

LOOPS: list["Loop"] = []
"""All of the modules that are imported."""


def read_only(dtype: Any, dimensions: int = 1) -> Any:
    """The type of a contiguous array that is only read; arrays that may be written fit it too."""
    return nb.types.Array(dtype, dimensions, "C", readonly=True)


class Loop:
    """A compiled function; calls look like those of the Python function."""

    def __init__(self, function: Callable[..., Any], signature: Any, options: dict[str, Any]) -> None:
        self._function, self._signature, self._options = function, signature, options
        LOOPS.append(self)

    @cached_property
    def machine_code(self) -> Any:
        """What is called: compiled now, or loaded from the cache."""
        return nb.njit(self._signature, **self._options)(self._function)

    def load(self) -> None:
        """Have the machine code now rather than at the first call."""
        _ = self.machine_code

    def __call__(self, *arguments: Any) -> Any:
        return self.machine_code(*arguments)


def loop(signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Loop]:
    """Decorates the function of a loop; additions keep their order and divisions by zero give infinities."""
    told = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False, **options}
    return lambda function: Loop(function, signature, told)


def load_all() -> None:
    """Compile or load every loop of the modules that are imported: for an image, which fills its cache."""
    for one in LOOPS:
        one.load()

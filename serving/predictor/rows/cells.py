"""Values of JSON as numbers and truths: booleans are no numbers, and numbers no booleans."""

import math
from typing import Any

from serving.contract import Column
from serving.predictor.errors import Reason


def truth(value: Any) -> tuple[float, Reason | None]:
    return (float(value), None) if isinstance(value, bool) else (math.nan, "type")


def is_number(value: Any) -> bool:
    """Whether *value* is a number of JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(column: Column, value: Any) -> tuple[float, Reason | None]:
    """*value* as a number of *column*, and what is wrong with it."""
    if not is_number(value):
        return math.nan, "type"
    try:
        code = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.nan, "type"
    if not math.isfinite(code) or (column.type == "int" and not code.is_integer()):
        return math.nan, "type"
    if code in column.null_numbers:
        return math.nan, None
    if column.range is not None and not column.range[0] <= code <= column.range[1]:
        return code, "range"
    return code, None


def lenient(column: Column, code: float) -> tuple[float, str]:
    """What is used for a number outside of the range of a column that does not refuse it, and the flag's reason."""
    if column.out_of_range == "clip" and column.range is not None:
        return min(max(code, column.range[0]), column.range[1]), "clipped"
    return code, "out_of_range"

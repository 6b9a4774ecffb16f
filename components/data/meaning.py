"""What one cell means, given the contract's column and the polars type it was read as."""

import re
from collections import Counter
from typing import Any

import polars as pl

from components.data.words import number as number_in
from components.data.words import spelled
from serving.contract import Column, spellings
from serving.errors import DataError

MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
TRUE_WORDS = ("true", "1", "1.0", "yes")
FALSE_WORDS = ("false", "0", "0.0", "no")
FEW = 16
_DECIMAL = re.compile(r"-?\d+\.\d*0")

TYPES = {"float": pl.Float64, "int": pl.Float64, "bool": pl.Boolean, "category": pl.String}


def value(name: str, column: Column, dtype: Any) -> pl.Expr:
    """What the column *name* of polars type *dtype* holds, in the contract's type; null where it holds nothing there.

    Raises:
        DataError: no value of *dtype* can mean what the contract asks for.
    """
    held = pl.col(name)
    if dtype == pl.Null:
        return held.cast(TYPES[column.type])
    if column.type == "category":
        return _category(name, held, dtype, column.values)
    if column.type == "bool":
        return _truth(name, held, dtype)
    return _number(name, held, dtype, whole=column.type == "int")


def _number(name: str, value: pl.Expr, dtype: Any, whole: bool) -> pl.Expr:
    if not (dtype == pl.String or dtype.is_numeric()):
        raise _impossible(name, dtype, "numbers")
    value = number_in(value) if dtype == pl.String else value.cast(pl.Float64, strict=False)
    if dtype.is_integer():
        return value
    # NaN and infinity are no numbers here: the first is a missing value, the second a division gone wrong.
    usable = value.is_finite() & (value == value.floor()) if whole else value.is_finite()
    return pl.when(usable).then(value)


def _truth(name: str, value: pl.Expr, dtype: Any) -> pl.Expr:
    if dtype == pl.Boolean:
        return value
    if not (dtype == pl.String or dtype.is_numeric()):
        raise _impossible(name, dtype, "true or false")
    word = spelled(value, dtype).str.strip_chars().str.to_lowercase()
    return pl.when(word.is_in(list(TRUE_WORDS))).then(True).when(word.is_in(list(FALSE_WORDS))).then(False)


def _category(name: str, value: pl.Expr, dtype: Any, values: tuple[str, ...]) -> pl.Expr:
    if dtype.is_nested():
        raise _impossible(name, dtype, "categories")
    known = as_category(value, dtype, values)
    return pl.when(~_is_missing_word(spelled(value, dtype), values)).then(known) if dtype == pl.String else known


def as_category(value: pl.Expr, dtype: Any, values: tuple[str, ...]) -> pl.Expr:
    """The text that stands there; a number or a boolean is the one of *values* that spells it."""
    text, others = spelled(value, dtype), _spellings(dtype, values)
    return text.replace(others) if others else text


def _spellings(dtype: Any, values: tuple[str, ...]) -> dict[str, str]:
    """Other ways to write one of *values*, each of which can mean nothing else.

    True for true, and 1.0 for 1 and 1.50 for 1.5, where booleans and numbers are spelled; and 1.0 in a text for 1, as
    pandas exports whole numbers of a column with gaps.
    """
    if dtype == pl.Boolean:
        return {word.lower(): word for word in values if word.lower() in ("true", "false")}
    if dtype == pl.String:
        return spellings(values)
    if not dtype.is_numeric():
        return {}
    short = {word: word.rstrip("0").rstrip(".") for word in values if _DECIMAL.fullmatch(word)}
    alike = Counter(short.values())
    return {text: word for word, text in short.items() if text not in values and alike[text] == 1}


def _impossible(name: str, dtype: Any, wanted: str) -> DataError:
    return DataError(
        f"column {name!r} has type {dtype}: expected {wanted}; correct the export or the column's type in the contract"
    )


def missing(name: str, dtype: Any, values: tuple[str, ...] = ()) -> pl.Expr:
    """True where the table holds nothing: null, NaN, or a word exports write for it that is none of *values*."""
    column = pl.col(name)
    if dtype == pl.String:
        return column.is_null() | _is_missing_word(column if values else column.str.strip_chars(), values)
    if dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(False)
    return column.is_null()


def _is_missing_word(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    return one_of(text, tuple(word for word in MISSING_WORDS if word not in values))


def one_of(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    """Membership; comparing with each of a few short texts takes a third of the time of a hash look-up."""
    return pl.any_horizontal(text == value for value in values) if len(values) <= FEW else text.is_in(list(values))

"""What one cell means, given the contract's column and the polars type it was read as."""

import re
from collections import Counter
from typing import Any

import polars as pl

from components.data.moments import TYPE, moments
from components.data.words import number as number_in
from components.data.words import spelled
from serving.columns.moments import BLANKS
from serving.contract import Column, spellings
from serving.errors import DataError

TRUE_WORDS = ("true", "1", "1.0", "yes")
FALSE_WORDS = ("false", "0", "0.0", "no")
FEW = 16
_DECIMAL = re.compile(r"-?\d+\.\d*0")

TYPES = {
    "float": pl.Float64,
    "int": pl.Float64,
    "bool": pl.Boolean,
    "category": pl.String,
    "datetime": TYPE,
    "text": pl.String,
    "id": pl.String,
}


def value(name: str, column: Column, dtype: Any) -> pl.Expr:
    """What the column *name* of polars type *dtype* holds, in the contract's type; null where it holds nothing there.

    Raises:
        DataError: no value of *dtype* can mean what the contract asks for.
    """
    held = pl.col(name)
    if dtype == pl.Null:
        return held.cast(TYPES[column.type])
    told = _told(name, held, dtype, column)
    # What means an empty cell says nothing else; the words that always do are no number, truth or moment anyway.
    empty = column.null_values or column.type in ("category", "text")
    return pl.when(~missing(name, dtype, column)).then(told) if empty else told


def _told(name: str, held: pl.Expr, dtype: Any, column: Column) -> pl.Expr:
    if column.type in ("category", "text", "id"):
        if dtype.is_nested():
            raise _impossible(name, dtype, "categories" if column.type == "category" else "texts")
        return as_category(held, dtype, column) if column.type == "category" else spelled(held, dtype)
    if column.type == "datetime":
        return moments(name, dtype, column)
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


def _trimmed(text: pl.Expr, column: Column) -> pl.Expr:
    return text.str.strip_chars(BLANKS) if column.trimmed else text


def as_category(value: pl.Expr, dtype: Any, column: Column) -> pl.Expr:
    """The text that stands there; a number or a boolean is the one of the *column*'s values that spells it."""
    text, others = _trimmed(spelled(value, dtype), column), _spellings(dtype, column.values)
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


def missing(name: str, dtype: Any, column: Column) -> pl.Expr:
    """True where the table holds nothing for *column*: null, NaN, or a word or number that means an empty cell."""
    cell, words = pl.col(name), _words(dtype, column)
    gone = cell.is_null()
    if dtype.is_float():
        gone = gone | cell.is_nan().fill_null(value=False)
    if words:
        text = spelled(cell, dtype)
        text = _trimmed(text, column) if column.type == "category" else text.str.strip_chars(BLANKS)
        gone = gone | one_of(text, words)
    if column.null_numbers and (dtype == pl.String or dtype.is_numeric()):
        number = number_in(cell) if dtype == pl.String else cell.cast(pl.Float64, strict=False)
        gone = gone | pl.any_horizontal(number == one for one in column.null_numbers).fill_null(value=False)
    return gone.fill_null(value=False)


def _words(dtype: Any, column: Column) -> tuple[str, ...]:
    """The texts that mean an empty cell in a table that holds *dtype*; what is no text spells only stated ones."""
    words = column.null_words
    stated = column.null_values and not (dtype.is_nested() or column.numeric)
    return words if dtype == pl.String or stated else ()


def one_of(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    """Membership; comparing with each of a few short texts takes a third of the time of a hash look-up."""
    return pl.any_horizontal(text == value for value in values) if len(values) <= FEW else text.is_in(list(values))

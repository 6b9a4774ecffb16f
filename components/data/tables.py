"""From a table of rows to what models compute with: the coded matrix and the target."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.meaning import value
from components.data.moments import ANY, TYPE, read
from components.data.rules import meant
from components.data.words import counted
from serving.columns.moments import seconds
from serving.columns.texts import features
from serving.contract import Column, Contract, Matrix
from serving.errors import DataError

_WHOLE, _DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.0"), re.compile(r"-?\d+\.\d*[1-9]\d*")
Vector = npt.NDArray[np.float64]


def matrix_and_target(frame: pl.DataFrame, contract: Contract) -> tuple[Matrix, Vector]:
    """The coded matrix of *frame* and its target: numbers, or positions in ``contract.target.classes`` as floats.

    Raises:
        DataError: a column is absent, the target has gaps, or holds a class that the contract does not name.
    """
    rows = meant(frame, contract)
    return coded(rows, contract), _target(frame, rows, contract)


def coded(frame: pl.DataFrame, contract: Contract, cell: Callable[[str], pl.Expr] = pl.col) -> Matrix:
    """The coded matrix of the contract's columns, each in its type; *cell* says where *frame* has a column."""
    matrix: Matrix = frame.select(codes(contract, cell)).to_numpy(order="c")
    return matrix


def recoded(rows: pl.DataFrame, contract: Contract, slot: Callable[[str], pl.Expr]) -> Matrix:
    """The coded matrix again from what a prediction log says of each slot; *slot* says where *rows* have one."""
    codes = [code(_logged(slot(name), column), column).alias(name) for name, column in contract.slots.items()]
    matrix: Matrix = rows.with_columns(codes).select(*contract.slots).to_numpy(order="c")
    return matrix


def _logged(cell: pl.Expr, column: Column) -> pl.Expr:
    """A *cell* of a prediction log in the type of its slot: moments stand there as ISO 8601 in UTC."""
    if column.type != "datetime":
        return cell
    return cell.cast(pl.String).map_batches(lambda texts: read(texts, ANY.reading), return_dtype=TYPE)


def codes(contract: Contract, cell: Callable[[str], pl.Expr] = pl.col) -> list[pl.Expr]:
    """One expression for each slot of *contract*, given where the columns are, each in its type."""
    found = list[pl.Expr]()
    for name, column in contract.inputs.items():
        if column.type == "text":
            counts = (_counted(cell(name), count) for _, count in features(column.features))
        else:
            counts = (one for one in (code(cell(name), column),))
        found += [one.alias(slot) for one, slot in zip(counts, column.slots(name), strict=True)]
    return found


def code(cell: pl.Expr, column: Column) -> pl.Expr:
    """The float64 that stands for a *cell* in the coded matrix; null where there is no value."""
    if column.type == "datetime":
        return cell.cast(TYPE).map_batches(_seconds, return_dtype=pl.Float64, is_elementwise=True)
    if column.type != "category":
        return cell.cast(pl.Float64)
    word = cell.cast(pl.String)
    place = word.cast(pl.Enum(list(column.values)), strict=False).to_physical().cast(pl.Float64)
    return pl.when(word.is_not_null()).then(place.fill_null(float(len(column.values))))


def _seconds(moments: pl.Series) -> pl.Series:
    """By the function that a server calls: polars multiplies by a reciprocal where it is told to divide."""
    found = pl.Series(moments.name, seconds(moments.cast(pl.Int64).fill_null(0).to_numpy()), pl.Float64)
    return found.zip_with(moments.is_not_null(), pl.Series([None], dtype=pl.Float64).new_from_index(0, len(moments)))


def _counted(cell: pl.Expr, count: Callable[[str], float]) -> pl.Expr:
    """A feature of each text, asked for once of equal ones."""

    def counts(texts: pl.Series) -> pl.Series:
        known = {word: count(word) for word in texts.drop_nulls().unique()}
        return texts.replace_strict(known, default=None, return_dtype=pl.Float64) if known else texts.cast(pl.Float64)

    return cell.cast(pl.String).map_batches(counts, return_dtype=pl.Float64, is_elementwise=True)


def learned_contract(frame: pl.DataFrame, contract: Contract) -> Contract:
    """*contract* with the categories that its open columns have in the training rows *frame*."""
    names = [name for name, column in contract.inputs.items() if column.open]
    if not names:
        return contract
    typed = frame.select(value(name, contract.inputs[name], frame.schema[name]).alias(name) for name in names)
    return contract.learned({name: _vocabulary(typed[name]) for name in names})


def _vocabulary(words: pl.Series) -> dict[str, int]:
    """How many rows have each of *words*; 3.0 is 3 where no number has other decimals, as pandas writes gaps."""
    counts = Counter(counted(words))
    whole = {word: word[:-2] for word in counts if _WHOLE.fullmatch(word)}
    if whole and not any(_DECIMAL.fullmatch(word) for word in counts):
        for word, short in whole.items():
            counts[short] += counts.pop(word)
    return counts


def truth(schema: Any, contract: Contract) -> pl.Expr:
    """The target of a table with polars *schema* as float64: a number, or the position of a class; else null."""
    column = contract.truth
    number = code(value(contract.target.name, column, schema[contract.target.name]), column)
    return pl.when(number < len(column.values)).then(number) if column.values else number


def _target(frame: pl.DataFrame, rows: pl.DataFrame, contract: Contract) -> Vector:
    """The target of *rows*, which are what *frame* means."""
    name, classes = contract.target.name, contract.target.classes
    numbers = rows.select(truth(rows.schema, contract)).to_series()
    bad = numbers.is_null().arg_true()
    if len(bad) and not classes:
        raise DataError(f"the target {name!r} is missing or not a number in {len(bad)} of {len(numbers)} rows")
    if len(bad):
        word = frame[name][bad[0]]
        seen = "a missing value" if word is None else repr(word)
        raise DataError(f"the target {name!r}: expected one of {', '.join(classes)}, seen {seen}")
    return np.asarray(numbers.to_numpy(), dtype=np.float64)

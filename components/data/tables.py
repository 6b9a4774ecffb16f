"""From a table of rows to what models compute with: the coded matrix and the target."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.meaning import value
from components.data.rules import fields, meant
from serving.contract import Column, Contract, Matrix
from serving.errors import DataError

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
    codes = [code(cell(name), column).alias(name) for name, column in contract.columns.items()]
    matrix: Matrix = frame.with_columns(codes).select(contract.names).to_numpy(order="c")
    return matrix


def code(cell: pl.Expr, column: Column) -> pl.Expr:
    """The float64 that stands for a *cell* in the coded matrix; null where there is no value."""
    if column.type != "category":
        return cell.cast(pl.Float64)
    word = cell.cast(pl.String)
    place = word.cast(pl.Enum(list(column.values)), strict=False).to_physical().cast(pl.Float64)
    return pl.when(word.is_not_null()).then(place.fill_null(float(len(column.values))))


def truth(schema: Any, contract: Contract) -> pl.Expr:
    """The target of a table with polars *schema* as float64: a number, or the position of a class; else null."""
    column = fields(contract)[contract.target.name]
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

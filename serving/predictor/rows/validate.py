"""Cells against the contract, one by one: the reference for the fast decoder, and where the words of errors come from.

A cell is a decoded JSON value. Booleans are no numbers and numbers no booleans; a whole number may be written ``3.0``;
null is a value only of nullable columns; a column left out is an error even if it is nullable, since a misspelt name
would else pass for a missing value.
"""

import difflib
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.contract import Column, Contract, Matrix, spellings
from serving.predictor.errors import NOTHING, Reason, RequestProblem, Words, bad_cells, jsonable, no_such_column, wrong

BAD_ROWS = 5
PROBLEMS = 50


class Flag(msgspec.Struct, frozen=True):
    """A cell that was let through although it is outside of the contract, since its column says so.

    Attributes:
        reason: ``clipped`` to the nearest bound, ``out_of_range`` and used as it is, or ``unknown_category``.
    """

    row: int
    column: str
    reason: str
    seen: Any


@dataclass(frozen=True, slots=True)
class Rows:
    """The coded matrix of a request, and what was let through in it."""

    matrix: Matrix
    flags: tuple[Flag, ...] = ()


class Checker:
    """Turns cells of *contract* into codes, and says what is wrong with those that cannot be.

    Attributes:
        codes: per column, the code of each category and of None; empty for other columns.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.names = contract.names
        self.columns = tuple(contract.columns.values())
        self.codes: tuple[dict[str | None, float], ...] = tuple(
            _codes(column) if column.values else {} for column in self.columns
        )
        self._low, self._high = np.array([span(column) for column in self.columns]).T.copy()
        self._whole = np.array([column.type in ("int", "bool") for column in self.columns])
        self._required = np.array([not column.nullable for column in self.columns])

    def suspicious(self, codes: Matrix) -> npt.NDArray[np.bool_]:
        """Which cells of a coded matrix need a closer look; everything else is as the contract says."""
        bad = (codes < self._low) | (codes > self._high) | (np.isnan(codes) & self._required)
        return np.asarray(bad | ((np.floor(codes) < codes) & self._whole))

    def coded(self, position: int, words: Iterable[str | None]) -> list[float]:
        """Codes of *words* of the category at *position*, unknown ones among them."""
        codes, unknown = self.codes[position], float(len(self.columns[position].values))
        return [codes.get(word, unknown) for word in words]

    def checked(
        self,
        matrix: Matrix,
        seen: Callable[[int, int], Any],
        first: int = 0,
        where: Callable[[int, int], str] = lambda row, position: "",  # noqa: ARG005 - for who only asks whether
    ) -> Rows:
        """*matrix* with what is lenient clipped or flagged.

        Args:
            seen: what the client wrote in a cell, by row and position.
            first: position in the request of the first row.
            where: the words that lead to a cell, by row and position.

        Raises:
            Refusal: 400 with every problem of the first bad rows.
        """
        flags: list[Flag] = []
        gather = Gather()
        for row, position in np.argwhere(self.suspicious(matrix)).tolist():
            code, problem, flag = self.cell(position, seen(row, position), first + row, where(row, position))
            matrix[row, position] = code
            if problem and gather.full(problem):
                break
            flags += [flag] if flag else []
        gather.raise_if_any()
        return Rows(matrix, tuple(flags))

    def row(self, cells: Any, row: int, where: str) -> tuple[list[float], list[RequestProblem], list[Flag]]:
        """Codes of one row given as an object or an array; codes mean something only if there are no problems."""
        if isinstance(cells, list) and len(cells) == 1 and isinstance(cells[0], dict):
            cells = cells[0]  # the shape KServe's stock servers take: one object in an array per row
        if isinstance(cells, dict):
            return self._object(cells, row, where)
        if not isinstance(cells, list):
            expected = "an object of columns or an array of values"
            return [], [wrong(row, None, expected, cells, where, "shape")], []
        if len(cells) != len(self.names):
            expected = f"{len(self.names)} values in the order {', '.join(self.names)}"
            return [], [wrong(row, None, expected, Words(f"{len(cells)} values"), where, "shape")], []
        return self._object(dict(zip(self.names, cells, strict=True)), row, where)

    def _object(
        self, cells: Mapping[str, Any], row: int, where: str
    ) -> tuple[list[float], list[RequestProblem], list[Flag]]:
        codes, problems, flags = [], [], []
        for position, name in enumerate(self.names):
            if name not in cells:
                expected = self.columns[position].expected
                problems.append(wrong(row, name, expected, NOTHING, f"{where}.{name}", "missing_column"))
                continue
            code, problem, flag = self.cell(position, cells[name], row, f"{where}.{name}")
            codes.append(code)
            problems += [problem] if problem else []
            flags += [flag] if flag else []
        problems += [self.unknown(name, row, where) for name in cells if name not in self.contract.columns]
        return codes, problems, flags

    def unknown(self, name: str, row: int | None, where: str) -> RequestProblem:
        """What is wrong with a column or tensor that the contract does not have."""
        close = difflib.get_close_matches(name, self.names, n=1) if len(name) <= 200 else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return no_such_column(row, name, hint, where)

    def cell(self, position: int, value: Any, row: int, where: str) -> tuple[float, RequestProblem | None, Flag | None]:
        """Code, problem and flag of one value of the column at *position*."""
        column, name = self.columns[position], self.names[position]
        if value is None:
            if column.nullable:
                return math.nan, None, None
            return math.nan, wrong(row, name, column.expected, None, where, "null"), None
        if column.type == "category":
            code, reason = self._category(position, value)
        elif column.type == "bool":
            code, reason = (float(value), None) if isinstance(value, bool) else (math.nan, "type")
        else:
            code, reason = number(column, value)
        if reason is None:
            return code, None, None
        if reason == "range" and column.out_of_range != "refuse":
            used, word = lenient(column, code)
            return used, None, Flag(row, name, word, jsonable(value))
        if reason == "category" and column.unknown == "flag":
            return code, None, Flag(row, name, "unknown_category", jsonable(value))
        return code, wrong(row, name, column.expected, value, where, reason), None

    def _category(self, position: int, value: Any) -> tuple[float, Reason | None]:
        if not isinstance(value, str):
            return math.nan, "type"
        code = self.codes[position].get(value)
        return (float(len(self.columns[position].values)), "category") if code is None else (code, None)


def _codes(column: Column) -> dict[str | None, float]:
    codes: dict[str | None, float] = {word: float(code) for code, word in enumerate(column.values)}
    return codes | {text: codes[word] for text, word in spellings(column.values).items()} | {None: math.nan}


def span(column: Column) -> tuple[float, float]:
    """The lowest and the highest code of *column* that is as the contract says."""
    if column.type == "category":
        return 0.0, len(column.values) - 1.0
    if column.type == "bool":
        return 0.0, 1.0
    return column.range or (-sys.float_info.max, sys.float_info.max)


def number(column: Column, value: Any) -> tuple[float, Reason | None]:
    """*value* as a number of *column*, and what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan, "type"
    try:
        code = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.nan, "type"
    if not math.isfinite(code) or (column.type == "int" and not code.is_integer()):
        return math.nan, "type"
    if column.range is not None and not column.range[0] <= code <= column.range[1]:
        return code, "range"
    return code, None


def lenient(column: Column, code: float) -> tuple[float, str]:
    """What is used for a number outside of the range of a column that does not refuse it, and the flag's reason."""
    if column.out_of_range == "clip" and column.range is not None:
        return min(max(code, column.range[0]), column.range[1]), "clipped"
    return code, "out_of_range"


def rows_of(checker: Checker, rows: Iterable[Any], first: int, prefix: str) -> Rows:
    """The coded matrix of *rows*, decoded JSON values.

    Args:
        first: position in the request of the first of *rows*.
        prefix: name of the list they stand in, for the words of errors.

    Raises:
        Refusal: 400 with every problem of the first bad rows.
    """
    codes: list[list[float]] = []
    flags: list[Flag] = []
    gather = Gather()
    for row, cells in enumerate(rows, start=first):
        coded, problems, raised = checker.row(cells, row, f"{prefix}[{row}]")
        if gather.full(*problems):
            break
        codes.append(coded)
        flags += raised
    gather.raise_if_any()
    return Rows(np.array(codes, dtype=np.float64).reshape(len(codes), len(checker.names)), tuple(flags))


class Gather:
    """Problems of the first few bad rows; enough for a person to mend them, bounded so that an answer stays small."""

    def __init__(self) -> None:
        self._problems: list[RequestProblem] = []
        self._rows: set[int | None] = set()

    def full(self, *problems: RequestProblem) -> bool:
        """Keep *problems*, which come in the order of rows; whether no more are wanted."""
        for problem in problems:
            if len(self._problems) >= PROBLEMS or (problem.row not in self._rows and len(self._rows) >= BAD_ROWS):
                return True
            self._rows.add(problem.row)
            self._problems.append(problem)
        return False

    def raise_if_any(self) -> None:
        if self._problems:
            raise bad_cells(self._problems)


def code_to_word(contract: Contract) -> list[Callable[[float], Any]]:
    """Per column, the function from a code back to the value a person knows; NaN becomes None."""

    def words(column: Column) -> Callable[[float], Any]:
        known = (*column.values, "?")
        if column.type == "category":
            return lambda code: None if code != code else known[int(code)]
        if column.type == "bool":
            return lambda code: None if code != code else bool(code)
        if column.type == "int":
            return lambda code: None if code != code else int(code)
        return lambda code: None if code != code else code

    return [words(column) for column in contract.columns.values()]

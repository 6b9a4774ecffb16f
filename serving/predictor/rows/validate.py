"""Cells against the contract, one by one: the reference for the fast decoder, and where the words of errors come from.

A cell is a decoded JSON value. Booleans are no numbers and numbers no booleans; a whole number may be written ``3.0``;
null is a value only of nullable columns; a column left out is an error even if it is nullable, since a misspelt name
would else pass for a missing value.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.columns.coding import NO_MOMENT, Codes, category, coder, moment, spoken, text, words_of
from serving.contract import Column, Contract, Matrix
from serving.predictor.errors import NOTHING, Reason, RequestProblem, Words, bad_cells, jsonable, no_such_column, wrong
from serving.predictor.rows.cells import is_number, lenient, number, truth

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


NOTHING_CARRIED: Mapping[str, Sequence[Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rows:
    """The coded matrix of a request, and what was let through in it.

    Attributes:
        ids: by column of type id that the request brought, one cell per row, None where a row has none.
    """

    matrix: Matrix
    flags: tuple[Flag, ...] = ()
    ids: Mapping[str, Sequence[Any]] = field(default_factory=dict)


class Checker:
    """Turns cells of *contract* into codes, and says what is wrong with those that cannot be.

    Attributes:
        names, columns: what a request brings, ids too.
        firsts: per column, its first slot; behind them the number of all.
        codes: per category, the code of each text that is one, and of None; empty for other columns.
        ids: positions of the columns that go along.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.names = contract.names
        self.columns = tuple(contract.columns.values())
        widths = [len(column.slots(name)) for name, column in contract.columns.items()]
        self.firsts = [0, *np.cumsum(widths).tolist()]
        self.codes = tuple(words_of(column) if column.type == "category" else {} for column in self.columns)
        self.ids = tuple(place for place, column in enumerate(self.columns) if column.type == "id")
        self._coders = {i: coder(c) for i, c in enumerate(self.columns) if c.type in ("category", "datetime", "text")}
        self._of_slot = [position for position, width in enumerate(widths) for _ in range(width)]
        firsts = set(self.firsts)
        slots = [(slot in firsts, self.columns[position]) for slot, position in enumerate(self._of_slot)]
        self._low, self._high = np.array([column.span for _, column in slots]).T.copy()
        self._whole = np.array([column.type in ("int", "bool") for _, column in slots])
        self._required = np.array([first and not column.nullable for first, column in slots])
        self._empty = [(slot, c.null_numbers) for slot, (_, c) in enumerate(slots) if c.null_numbers]

    @property
    def width(self) -> int:
        """Columns of the coded matrix."""
        return len(self._of_slot)

    def suspicious(self, codes: Matrix) -> npt.NDArray[np.bool_]:
        """Which cells of a coded matrix need a closer look; everything else is as the contract says."""
        bad = (codes < self._low) | (codes > self._high) | (np.isnan(codes) & self._required)
        for slot, empty in self._empty:
            bad[:, slot] |= np.isin(codes[:, slot], empty)
        return np.asarray(bad | ((np.floor(codes) < codes) & self._whole))

    def coded(self, position: int, cells: Iterable[Any]) -> Any:
        """Codes of *cells* of the column at *position*, of shape (n_rows, n_slots), unknown words among them."""
        code = self._coders.get(position)
        width = self.firsts[position + 1] - self.firsts[position]
        if code is None:
            cells = list(cells) if width else [None for _ in cells]
            return np.array(cells, dtype=np.float64).reshape(-1, 1)[:, :width]
        return np.array([code(cell) for cell in cells], dtype=np.float64).reshape(-1, width)

    def quick(self, position: int) -> tuple[Callable[[Any], Any], bool]:
        """The code of a cell of a category or moment, of a text or id its codes, and whether it may be empty.

        The code is None for what is no category of its column as it stands, which needs a closer look.
        """
        column = self.columns[position]
        if column.type == "category":
            return (self.codes[position].get if column.closed else category(column)), column.nullable
        kinds: dict[str, Callable[[Any], Any]] = {"datetime": moment, "text": text}
        return kinds[column.type](column) if column.type in kinds else lambda _cell: (), column.nullable

    def checked(
        self,
        matrix: Matrix,
        seen: Callable[[int, int], Any],
        first: int = 0,
        where: Callable[[int, int], str] = lambda row, position: "",  # noqa: ARG005 - for who only asks whether
        ids: Mapping[str, Sequence[Any]] = NOTHING_CARRIED,
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
        for row, slot in np.argwhere(self.suspicious(matrix)).tolist():
            position = self._of_slot[slot]
            code, problem, flag = self.cell(position, seen(row, position), first + row, where(row, position))
            matrix[row, slot : slot + len(code)] = code
            if problem and gather.full(problem):
                break
            flags += [flag] if flag else []
        gather.raise_if_any()
        return Rows(matrix, tuple(flags), ids)

    def carried(self, cells: Callable[[int], Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """The ids that a request brought, given the cells of a column; one that no row has was not brought."""
        found = {self.names[position]: cells(position) for position in self.ids}
        return {name: ids for name, ids in found.items() if any(one is not None for one in ids)}

    def row(self, cells: Any, row: int, where: str) -> tuple[list[float], list[RequestProblem], list[Flag]]:
        """Codes of one row given as an object or an array; codes mean something only if there are no problems."""
        record = self.record(cells)
        if record is not None:
            return self._object(record, row, where)
        if not isinstance(cells, list):
            expected = "an object of columns or an array of values"
            return [], [wrong(row, None, expected, cells, where, "shape")], []
        expected = f"{len(self.names)} values in the order {', '.join(self.names)}"
        return [], [wrong(row, None, expected, Words(f"{len(cells)} values"), where, "shape")], []

    def record(self, cells: Any) -> Mapping[str, Any] | None:
        """A row as an object of columns, where it is one, or an array that may leave all ids out."""
        if isinstance(cells, list) and len(cells) == 1 and isinstance(cells[0], dict):
            return cells[0]  # the shape KServe's stock servers take: one object in an array per row
        if isinstance(cells, dict):
            return cells
        names = next(
            (n for n in (self.names, tuple(self.contract.inputs)) if isinstance(cells, list) and len(cells) == len(n)),
            None,
        )
        return None if names is None else dict(zip(names, cells, strict=True))

    def _object(
        self, cells: Mapping[str, Any], row: int, where: str
    ) -> tuple[list[float], list[RequestProblem], list[Flag]]:
        codes, problems, flags = list[float](), list[RequestProblem](), list[Flag]()
        for position, name in enumerate(self.names):
            if name not in cells:
                if position not in self.ids:
                    expected = self.columns[position].expected
                    problems.append(wrong(row, name, expected, NOTHING, f"{where}.{name}", "missing_column"))
                continue
            code, problem, flag = self.cell(position, cells[name], row, f"{where}.{name}")
            codes += code
            problems += [problem] if problem else []
            flags += [flag] if flag else []
        problems += [self.unknown(name, row, where) for name in cells if name not in self.contract.columns]
        return codes, problems, flags

    def unknown(self, name: str, row: int | None, where: str) -> RequestProblem:
        """What is wrong with a column or tensor that the contract does not have."""
        close = difflib.get_close_matches(name, self.names, n=1) if len(name) <= 200 else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return no_such_column(row, name, hint, where)

    def cell(self, position: int, value: Any, row: int, where: str) -> tuple[Codes, RequestProblem | None, Flag | None]:
        """Codes, problem and flag of one value of the column at *position*."""
        column, name = self.columns[position], self.names[position]
        codes, reason = self._meaning(position, value)
        if reason is None:
            return codes, None, None
        if reason == "range" and column.out_of_range != "refuse":
            used, word = lenient(column, codes[0])
            return (used,), None, Flag(row, name, word, jsonable(value))
        if reason == "category" and column.unknown == "flag":
            return codes, None, Flag(row, name, "unknown_category", jsonable(value))
        return codes, wrong(row, name, column.expected, value, where, reason), None

    def _meaning(self, position: int, value: Any) -> tuple[Codes, Reason | None]:
        """What *value* means in the column at *position*, and what is wrong with it."""
        column, code = self.columns[position], self._coders.get(position)
        width = self.firsts[position + 1] - self.firsts[position]
        if column.type == "id":
            return (), None if value is None or isinstance(value, str | int | float) else "type"
        nothing = (math.nan,) * width
        if value is None:
            codes: Codes = nothing
        elif code is None:
            one, reason = truth(value) if column.type == "bool" else number(column, value)
            if reason is not None:
                return (one,), reason
            codes = (one,)
        elif isinstance(value, str) or (column.type == "datetime" and is_number(value)):
            codes = code(value)
        else:
            return nothing, "type"
        if codes[0] != codes[0]:
            return codes, None if column.nullable else "null"
        if column.type == "datetime" and codes[0] == NO_MOMENT:
            return nothing, "type"
        return codes, "category" if column.closed and codes[0] == len(column.values) else None


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
    gather, rows = Gather(), list(rows)
    for row, cells in enumerate(rows, start=first):
        coded, problems, raised = checker.row(cells, row, f"{prefix}[{row}]")
        if gather.full(*problems):
            break
        codes.append(coded)
        flags += raised
    gather.raise_if_any()
    matrix = np.array(codes, dtype=np.float64).reshape(len(codes), checker.width)
    if not checker.ids:
        return Rows(matrix, tuple(flags))
    records = [checker.record(cells) or {} for cells in rows]
    return Rows(matrix, tuple(flags), checker.carried(lambda at: [one.get(checker.names[at]) for one in records]))


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
    """Per slot, the function from a code back to the value a person knows; NaN becomes None, an unknown word ``?``."""

    def words(column: Column) -> Callable[[float], Any]:
        known = (*column.values, "?")
        if column.type == "category":
            return lambda code: None if code != code else known[int(code)]
        return spoken(column)

    return [words(column) for column in contract.slots.values()]

"""Columns while a pipeline is compiled: what is known about a column before any row is seen.

A numeric column is a chain of steps that every row will go through. A category has finitely many values, so whatever is
done to it is done at once to all of them, by scikit-learn itself, and leaves a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract import Contract
from serving.features.program import Derivation
from serving.scoring import kernels
from serving.scoring.program import UFUNCS, Level, Preparation, Program

Step = tuple[int | str, float]  # an opcode of kernels.prepare with its operand, or a ufunc's name with 0.0


class CannotCompile(Exception):
    """Control flow of the compiler: its text is the reason of a ``Declined``."""


@dataclass(frozen=True)
class Number:
    """A column of numbers: its place in the coded matrix and the steps it goes through."""

    source: int
    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> "Number":
        return replace(self, steps=(*self.steps, *steps))


@dataclass(frozen=True, eq=False)
class Table:
    """A column made from a category: its value per code, the last two for an unknown and for a missing category.

    Attributes:
        refused: codes that scikit-learn raises on.
    """

    source: int
    values: npt.NDArray[Any]
    refused: npt.NDArray[np.bool_]

    @property
    def numeric(self) -> bool:
        return self.values.dtype != object

    def then(self, *steps: Step) -> "Table":
        values, refused = self.values.astype(np.float64), self.refused
        for step in steps:
            values, refused = _apply(step, values, refused)
        return replace(self, values=values, refused=refused)


Symbol = Number | Table


def symbols_of(contract: Contract) -> list[Symbol]:
    """One symbol per contract column, as ``Contract.frame`` shows it to scikit-learn."""
    symbols: list[Symbol] = []
    for position, column in enumerate(contract.slots.values()):
        if column.type == "category":
            values = np.array([*column.values, "?", None], dtype=object)
            symbols.append(Table(position, values, np.zeros(len(values), np.bool_)))
        else:
            symbols.append(Number(position))
    return symbols


def derived_symbols(step: Any, contract: Contract) -> tuple[Derivation, list[Symbol]]:
    """The program of a pipeline's step *step*, a ``Derive``, and one symbol per column of the table that it makes."""
    if tuple(step.names) != tuple(contract.slots):
        raise CannotCompile("derived columns over other columns than the contract's have no fast form")
    program = step.program()
    symbols = symbols_of(contract)
    for place, name in enumerate(program.names, len(symbols)):
        if name in step.words:
            values = np.array([*step.words[name], "?", None], dtype=object)
            symbols.append(Table(place, values, np.zeros(len(values), np.bool_)))
        else:
            symbols.append(Number(place))
    return program, symbols


def lower(
    symbols: Sequence[Symbol], n_columns: int, accepts: int, narrow: bool, derived: Derivation | None = None
) -> Program:
    """The program that computes *symbols*, which become the features in their order; *derived* goes before it.

    Raises:
        CannotCompile: a column is still text.
    """
    if any(isinstance(symbol, Table) and not symbol.numeric for symbol in symbols):
        raise CannotCompile("a category reaches the estimator as text")
    pending, width = list(symbols), n_columns + (0 if derived is None else len(derived.results))
    levels: list[Level] = []
    while True:
        heads = {head for head in map(_head, pending) if head is not None}
        if not heads:
            return Program(n_columns, tuple(levels), _pass(pending), accepts, narrow, derived)
        ordered = sorted(heads, key=lambda head: (str(head[2]), head[0], str(head[1])))
        levels.append(Level(_pass([Number(source, steps) for source, steps, _ in ordered]), _spans(ordered)))
        places = {head: width + place for place, head in enumerate(ordered)}
        pending = [_behind(symbol, places) for symbol in pending]
        width += len(ordered)


_Head = tuple[int, tuple[Step, ...], str]  # source, steps before the first ufunc, that ufunc


def _head(symbol: Symbol) -> _Head | None:
    if isinstance(symbol, Number):
        for place, (code, _) in enumerate(symbol.steps):
            if isinstance(code, str):
                return symbol.source, symbol.steps[:place], code
    return None


def _behind(symbol: Symbol, places: dict[_Head, int]) -> Symbol:
    head = _head(symbol)
    if head is None or isinstance(symbol, Table):
        return symbol
    return Number(places[head], symbol.steps[len(head[1]) + 1 :])


def _spans(heads: Sequence[_Head]) -> tuple[tuple[str, int, int], ...]:
    names = [head[2] for head in heads]
    firsts = [place for place, name in enumerate(names) if place == 0 or names[place - 1] != name]
    return tuple((names[first], first, end) for first, end in zip(firsts, [*firsts[1:], len(names)], strict=True))


def _pass(symbols: Sequence[Symbol]) -> Preparation:
    columns, steps, values, refused = [], list[Step](), list[npt.NDArray[np.float64]](), list[npt.NDArray[np.bool_]]()
    filled = 0
    for symbol in symbols:
        if isinstance(symbol, Number):
            columns.append((symbol.source, 0, len(steps), len(steps) + len(symbol.steps)))
            steps.extend(symbol.steps)
        else:
            columns.append((symbol.source, 1, filled, filled + len(symbol.values)))
            values.append(symbol.values.astype(np.float64))
            refused.append(symbol.refused)
            filled += len(symbol.values)
    return Preparation(
        columns=np.array(columns, np.int32).reshape(-1, 4),
        codes=np.array([code for code, _ in steps], np.int32),
        operands=np.array([operand for _, operand in steps], np.float64),
        table=np.concatenate(values) if values else np.zeros(0),
        refused=np.concatenate(refused) if refused else np.zeros(0, np.bool_),
    )


def _apply(
    step: Step, values: npt.NDArray[np.float64], refused: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """One step on all values of a table."""
    code, operand = step
    with np.errstate(all="ignore"):
        if isinstance(code, str):
            return UFUNCS[code](values), refused
        if code == kernels.NOT_INFINITE:
            return values, refused | np.isinf(values)
        return np.array([kernels.stepped.py_func(value, code, operand) for value in values]), refused

"""What an expression is made of while it is compiled: typed registers, and the program that grows beneath them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from serving.contract import Column
from serving.features import kernel
from serving.features.program import MOST_STEPS, Derivation

Kind = Literal["number", "truth", "category", "moment", "text", "list"]
MOST_VALUES = 4_096  # categories of a derived column
_NOUNS = {
    "number": "a number",
    "truth": "a truth",
    "category": "a category",
    "moment": "a date or time",
    "text": "a text",
    "list": "a list",
}


class Mistake(Exception):
    """What is wrong at one place of an expression; its text becomes part of a ``ConfigError``."""


@dataclass(frozen=True)
class Operand:
    """A part of an expression.

    Attributes:
        register: where its value stands; of texts and lists nowhere.
        values: of a category, by code; one behind them is any other category. Empty until training has learned them.
        closed: whether a word outside of ``values`` is a mistake; training may have left a rare one out.
        made: whether the values of a category are texts that stand in expressions, to which others may be added.
        zone: of a moment, whose clocks show its parts.
        literal: what is written in the expression, if it is written there: a number, a text or a tuple of them.
    """

    kind: Kind
    register: int = 0
    values: tuple[str, ...] = ()
    closed: bool = True
    made: bool = False
    zone: str = "UTC"
    literal: Any = None

    @property
    def column(self) -> Column:
        """What it is as a column of its own."""
        if self.kind == "category":
            return Column(type="category", values=self.values, nullable=True, unknown="flag")
        if self.kind == "moment":
            return Column(type="datetime", zone=self.zone, nullable=True)
        return Column(type="bool" if self.kind == "truth" else "float", nullable=True)

    @property
    def noun(self) -> str:
        """The phrase error messages use."""
        if self.kind == "text":
            return f"the text {str(self.literal)[:40]!r}"
        return _NOUNS[self.kind]


@dataclass(frozen=True)
class Group:
    """A statistic of a number by category that is learned from training rows.

    Attributes:
        statistic: a name of ``groups.STATISTICS``.
        number, by: registers of the number and of the category's code.
        start, stop: where in the table its values stand, of an unknown and of a missing category last.
    """

    statistic: str
    number: int
    by: int
    start: int
    stop: int


@dataclass
class Builder:
    """Instructions, each made once however often it is asked for.

    Registers while it grows: columns from 0, results of instructions behind them, constants from -1 down.
    """

    n_columns: int
    _constants: dict[str, int] = field(default_factory=dict)
    _steps: dict[tuple[int, ...], int] = field(default_factory=dict)
    _spans: dict[tuple[float, ...], tuple[int, int]] = field(default_factory=dict)
    _table: list[float] = field(default_factory=list)
    _groups: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)

    def constant(self, value: float) -> int:
        return self._constants.setdefault(float(value).hex(), -1 - len(self._constants))

    def step(self, op: int, *operands: int) -> int:
        """The register of the result of *op*."""
        if len(self._steps) >= MOST_STEPS:
            raise Mistake(f"the columns together need more than {MOST_STEPS:,} steps")
        key = (op, *operands, *(0,) * (4 - len(operands)))
        return self._steps.setdefault(key, self.n_columns + len(self._steps))

    def searched(self, op: int, register: int, entries: Sequence[float]) -> int:
        """The register of *op* over *register* and *entries* of the table."""
        key = tuple(entries)
        if key not in self._spans:
            self._spans[key] = (len(self._table), len(self._table) + len(key))
            self._table += key
        return self.step(op, register, 0, *self._spans[key])

    def learned(self, statistic: str, number: Operand, by: Operand) -> int:
        """The register of a *statistic* of *number* in the training rows with a row's category *by*."""
        key = (statistic, number.register, by.register)
        if key not in self._groups:
            self._groups[key] = (len(self._table), len(self._table) + len(by.values) + 2)
            self._table += [math.nan] * (len(by.values) + 2)
        return self.step(kernel.LOOK_UP, by.register, 0, *self._groups[key])

    def groups(self) -> tuple[Group, ...]:
        """What training has to learn, in the order in which it can."""
        return tuple(
            Group(statistic, self._placed(number), self._placed(by), *span)
            for (statistic, number, by), span in self._groups.items()
        )

    def number(self, op: int, *operands: Operand | float) -> Operand:
        return Operand("number", self.step(op, *map(self.register, operands)))

    def truth(self, op: int, *operands: Operand | float) -> Operand:
        return Operand("truth", self.step(op, *map(self.register, operands)))

    def register(self, operand: Operand | float) -> int:
        return operand.register if isinstance(operand, Operand) else self.constant(operand)

    def finish(self, names: Sequence[str], results: Sequence[Operand]) -> Derivation:
        """The program of all that was asked for; *results* are its columns."""
        code = [
            [op, *(self._placed(one) if place < kernel.OPERANDS[op] else one for place, one in enumerate(operands))]
            for op, *operands in self._steps
        ]
        return Derivation(
            names=tuple(names),
            code=np.array(code, np.int32).reshape(-1, 5),
            constants=np.array([float.fromhex(one) for one in self._constants]),
            table=np.array(self._table, np.float64),
            results=np.array([self._placed(one.register) for one in results], np.int32),
        )

    def _placed(self, register: int) -> int:
        """Where *register* is once all constants are known."""
        if register < 0:
            return self.n_columns - 1 - register
        return register if register < self.n_columns else register + len(self._constants)


def finite(value: float) -> float:
    """A number of an expression as a float; none beyond those can be written."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Mistake("expected a finite number")
    return number

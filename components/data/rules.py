"""The contract as expressions over a table: what each value means, and what can be wrong with it.

A rule is a vectorised question about one column with a sentence for a row that fails it. Rules see two forms of every
column: ``name`` holds the value in the contract's type (null where there is none), ``raw:name`` what the table held.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import polars as pl

from components.data.moments import TYPE, moments
from components.data.words import number as number_in
from components.data.words import spelled
from serving.contract import Column, Contract, Frozen
from serving.errors import DataError

Reason = Literal[
    "wrong type", "missing", "out of range", "unknown category", "duplicate row", "duplicate key", "in the future"
]

MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
TRUE_WORDS = ("true", "1", "1.0", "yes")
FALSE_WORDS = ("false", "0", "0.0", "no")
LISTED_VALUES = 12  # categories a sentence names before it says how many more there are
FEW = 16

TYPES = {"float": pl.Float64, "int": pl.Float64, "bool": pl.Boolean, "category": pl.String}


class Count(Frozen):
    """Rows by what is wrong with them; ``column`` is empty where the whole row is meant."""

    column: str
    reason: str
    rows: int

    @property
    def phrase(self) -> str:
        """'71 area_m2 out of range', '15 duplicate row'."""
        return f"{self.rows:,} {self.column} {self.reason}".replace("  ", " ")


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with one column.

    Attributes:
        bad: true for a row that fails, never null.
        text: what is wrong, as a sentence about the row.
        expected: what the contract asks for, for the report.
    """

    column: str
    reason: Reason
    bad: pl.Expr
    text: pl.Expr
    expected: str = ""


def raw(name: str) -> str:
    """The column that holds what the table held in *name*."""
    return f"raw:{name}"


def fields(contract: Contract) -> dict[str, Column]:
    """Input columns and the target, which is held to its range or classes like any other column."""
    target = contract.target
    as_column = (
        Column(type="category", values=target.classes)
        if target.classes
        else Column(type="float", unit=target.unit, range=target.range)
    )
    return {**contract.columns, target.name: as_column}


def named(contract: Contract) -> list[str]:
    """Every column that the contract names: key, event time, inputs and target."""
    return [*(name for name in (contract.key, contract.event_time) if name), *fields(contract)]


def typed(schema: Any, contract: Contract) -> list[pl.Expr]:
    """Both forms of every column that the contract names, given the table's polars *schema*.

    Raises:
        DataError: a whole column is of a type that cannot hold what the contract asks for.
    """
    expressions = [key_of(schema, contract.key)] if contract.key else []
    if contract.event_time:
        expressions.append(moments(schema, contract.event_time))
        expressions.append(pl.col(contract.event_time).alias(raw(contract.event_time)))
    return expressions + forms(schema, fields(contract))


def key_of(schema: Any, name: str) -> pl.Expr:
    """A key is the text that stands there, so that 1, 01 and 001 are three things in every format."""
    return spelled(pl.col(name), schema[name]).alias(name)


def meant(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The columns that the *contract* names, in its types; cells without a meaning there are null.

    Raises:
        DataError: one of them is absent, or of a type that cannot hold what the contract asks for.
    """
    absent = [name for name in named(contract) if name not in frame.columns]
    if absent:
        raise DataError(f"the table has no column {absent[0]!r}; it has {', '.join(frame.columns)}")
    return frame.select(typed(frame.schema, contract)).select(named(contract))


def learnable(frame: pl.DataFrame, contract: Contract, until: datetime) -> pl.Series:
    """The events of *frame* up to *until* (naive UTC) whose target is known; without an event time, none."""
    if contract.event_time is None:
        return pl.Series(dtype=TYPE)
    target, event = fields(contract)[contract.target.name], moments(frame.schema, contract.event_time)
    known = value(contract.target.name, target, frame.schema[contract.target.name]).is_not_null()
    return frame.select(event.filter(known & (event <= until))).to_series()


def forms(schema: Any, columns: Mapping[str, Column]) -> list[pl.Expr]:
    """Both forms of *columns* alone, for rows without a key, an event time or a target; see ``typed``."""
    both = (
        (value(name, column, schema[name]).alias(name), pl.col(name).alias(raw(name)))
        for name, column in columns.items()
    )
    return [form for pair in both for form in pair]


def rules(schema: Any, contract: Contract, as_of: datetime) -> list[Rule]:
    """Everything that is asked of a row by itself; *as_of* is naive UTC."""
    found: list[Rule] = []
    if contract.key:
        gone = missing(contract.key, pl.String)
        found.append(Rule(contract.key, "missing", gone, _said(contract.key, "missing key"), "a key"))
    if contract.event_time:
        found += _moment_rules(contract.event_time, schema[contract.event_time], as_of)
    for name, column in fields(contract).items():
        found += _column_rules(name, column, schema[name], target=name == contract.target.name)
    return found


def input_rules(schema: Any, contract: Contract) -> list[Rule]:
    """What is asked of the input columns alone; see ``rules``."""
    return [r for name, column in contract.columns.items() for r in _column_rules(name, column, schema[name], False)]


def told(failed: Iterable[Rule]) -> pl.Expr:
    """What is wrong with a row, as the sentences of the *failed* rules that it breaks, ``; `` between them."""
    return pl.concat_str([pl.when(rule.bad).then(rule.text) for rule in failed], separator="; ", ignore_nulls=True)


def number(value: float) -> str:
    """A bound as one writes it: 1500 and 0.05, not 1500.0 and 5e-02."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _column_rules(name: str, column: Column, dtype: Any, target: bool) -> Iterator[Rule]:
    value, seen = pl.col(name), spelled(pl.col(raw(name)), dtype)
    gone = missing(raw(name), dtype, column.values)
    role = "the target is missing" if target else "missing"
    expected = _expected(column)
    if not column.nullable:
        yield Rule(name, "missing", gone, _said(name, role), "a value in every row")
    if _can_fail(column, dtype):
        noun = {"int": "no whole number", "float": "no number", "bool": "neither true nor false"}[column.type]
        text = _said(name, pl.lit("'"), seen.str.slice(0, 40), pl.lit(f"' is {noun}"))
        yield Rule(name, "wrong type", ~gone & value.is_null(), text, expected)
    if column.range is not None and column.numeric:
        low, high = column.range
        bounds = f"[{number(low)}, {number(high)}]" + (f" {column.unit}" if column.unit else "")
        bad = ~value.is_between(low, high)
        yield Rule(name, "out of range", bad.fill_null(False), _said(name, seen, f" out of {bounds}"), expected)
    if column.type == "category":
        bad = ~gone & ~_one_of(value, column.values)
        text = _said(name, "'", seen.str.slice(0, 40), f"' is none of {_listed(column.values)}")
        yield Rule(name, "unknown category", bad.fill_null(False), text, expected)


def _moment_rules(name: str, dtype: Any, as_of: datetime) -> Iterator[Rule]:
    moment, seen = pl.col(name), spelled(pl.col(raw(name)), dtype).str.slice(0, 40)
    gone = missing(raw(name), dtype)
    yield Rule(name, "missing", gone, _said(name, "missing event time"), "a moment in every row")
    if dtype == pl.String:
        text = _said(name, "'", seen, "' is no date or time")
        yield Rule(name, "wrong type", ~gone & moment.is_null(), text, "2025-11-30 or 2025-11-30T14:05:00")
    late = (moment > pl.lit(as_of)).fill_null(False)
    text = _said(name, seen, f" lies after {as_of:%Y-%m-%d %H:%M}")
    yield Rule(name, "in the future", late, text, f"not after {as_of:%Y-%m-%d %H:%M} UTC")


def _said(name: str, *words: str | pl.Expr) -> pl.Expr:
    parts = [pl.lit(word) if isinstance(word, str) else word.fill_null("nothing") for word in words]
    return pl.concat_str([pl.lit(f"{name}: "), *parts])


def _listed(values: tuple[str, ...]) -> str:
    more = f" and {len(values) - LISTED_VALUES} more" if len(values) > LISTED_VALUES else ""
    return ", ".join(values[:LISTED_VALUES]) + more


def _expected(column: Column) -> str:
    return f"one of {_listed(column.values)}" if column.type == "category" else column.expected


def missing(name: str, dtype: Any, values: tuple[str, ...] = ()) -> pl.Expr:
    """True where the table holds nothing: null, NaN, or a word exports write for it that is none of *values*."""
    column = pl.col(name)
    if dtype == pl.String:
        return column.is_null() | _is_missing_word(column if values else column.str.strip_chars(), values)
    if dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(False)
    return column.is_null()


def _is_missing_word(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    return _one_of(text, tuple(word for word in MISSING_WORDS if word not in values))


def _one_of(text: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    """Membership; comparing with each of a few short texts takes a third of the time of a hash look-up."""
    return pl.any_horizontal(text == value for value in values) if len(values) <= FEW else text.is_in(list(values))


def _can_fail(column: Column, dtype: Any) -> bool:
    """Whether a value of *dtype* may have no meaning in the column's type."""
    if column.type == "category" or dtype == pl.Null:
        return False
    if column.type == "bool":
        return bool(dtype != pl.Boolean)
    return bool(dtype == pl.String or dtype.is_float())


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
    """The text that stands there; a number or a boolean is the one of *values* that spells it."""
    if dtype.is_nested():
        raise _impossible(name, dtype, "categories")
    text, others = spelled(value, dtype), _spellings(dtype, values)
    known = text.replace(others) if others else text
    return pl.when(~_is_missing_word(text, values)).then(known) if dtype == pl.String else known


def _spellings(dtype: Any, values: tuple[str, ...]) -> dict[str, str]:
    """Other ways to write one of *values*, each of which can mean nothing else.

    True for true and 1.0 for 1 where booleans and numbers are spelled; and 1.0 in a text for 1, as pandas exports whole
    numbers of a column with gaps.
    """
    if dtype == pl.Boolean:
        return {word.lower(): word for word in values if word.lower() in ("true", "false")}
    if dtype == pl.String:
        whole = [word for word in values if word.removeprefix("-").isdecimal()]
        return {f"{word}.0": word for word in whole if f"{word}.0" not in values}
    if not dtype.is_numeric():
        return {}
    return {word[:-2]: word for word in values if word.endswith(".0") and word[:-2] not in values}


def _impossible(name: str, dtype: Any, wanted: str) -> DataError:
    return DataError(
        f"column {name!r} has type {dtype}: expected {wanted}; correct the export or the column's type in the contract"
    )

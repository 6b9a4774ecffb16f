"""The contract as expressions over a table: what each value means, and what can be wrong with it.

A rule is a vectorised question about one column with a sentence for a row that fails it. Rules see two forms of every
column: ``name`` holds the value in the contract's type (null where there is none), ``raw:name`` what the table held.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import polars as pl

from components.data.meaning import missing, one_of, value
from components.data.moments import TYPE, event_of, fitting
from components.data.words import spelled
from serving.contract import Column, Contract, Frozen
from serving.errors import DataError

Reason = Literal[
    "wrong type", "missing", "out of range", "unknown category", "duplicate row", "duplicate key", "in the future"
]

FEW = 3  # formats that a hint names
LISTED_VALUES = 12  # categories a sentence names before it says how many more there are
NOUNS = {
    "int": "no whole number",
    "float": "no number",
    "bool": "neither true nor false",
    "datetime": "no date or time",
}
"""What a cell is that is none of a column's type."""


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
        possible: one value for a whole table, false only where no row fails; cheap. None where ``bad`` is cheap itself.
        hint: what would make the raw cells right that fail; empty where nothing is known to.
    """

    column: str
    reason: Reason
    bad: pl.Expr
    text: pl.Expr
    expected: str = ""
    possible: pl.Expr | None = None
    hint: Callable[[pl.Series], str] | None = None


def raw(name: str) -> str:
    """The column that holds what the table held in *name*."""
    return f"raw:{name}"


def fields(contract: Contract) -> dict[str, Column]:
    """Input columns but ids, and the target, which is held to its range or classes like any other column."""
    return {**contract.inputs, contract.target.name: contract.truth}


def named(contract: Contract) -> list[str]:
    """Every column that the contract names: key, event time, inputs and target."""
    roles = (name for name in (contract.key, contract.event_time) if name)
    return list(dict.fromkeys((*roles, *fields(contract))))


def brought(contract: Contract) -> list[str]:
    """What a table has to have for ``named``: instead of an event time that is assembled its parts."""
    parts = contract.assembled.columns if contract.assembled else ()
    names = [name for name in named(contract) if not parts or name != contract.event_time]
    return list(dict.fromkeys((*names, *parts)))


def typed(schema: Any, contract: Contract) -> list[pl.Expr]:
    """Both forms of every column that the contract names, given the table's polars *schema*.

    Raises:
        DataError: a whole column is of a type that cannot hold what the contract asks for.
    """
    expressions = [key_of(schema, contract.key)] if contract.key else []
    event = {} if contract.event_time in contract.columns else events(contract)
    return expressions + forms(schema, {**event, **fields(contract)})


def events(contract: Contract) -> dict[str, Column]:
    """The event time, where there is one, as a column."""
    return {contract.event_time: contract.event} if contract.event_time else {}


def key_of(schema: Any, name: str) -> pl.Expr:
    """A key is the text that stands there, so that 1, 01 and 001 are three things in every format."""
    return spelled(pl.col(name), schema[name]).alias(name)


def meant(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The columns that the *contract* names, in its types; cells without a meaning there are null.

    Raises:
        DataError: one of them is absent, or of a type that cannot hold what the contract asks for.
    """
    here = set(frame.columns)
    absent = [name for name in named(contract) if name not in here]
    if absent:
        raise DataError(f"the table has no column {absent[0]!r}; it has {', '.join(frame.columns)}")
    return frame.select(typed(frame.schema, contract)).select(named(contract))


def learnable(frame: pl.DataFrame, contract: Contract, until: datetime) -> pl.Series:
    """The events of *frame* up to *until* (naive UTC) whose target is known; without an event time, none."""
    if contract.event_time is None:
        return pl.Series(dtype=TYPE)
    known = frame.select(value(contract.target.name, contract.truth, frame.schema[contract.target.name]).is_not_null())
    event = event_of(frame, contract)
    return event.filter(known.to_series() & (event <= until))


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
        gone = missing(contract.key, pl.String(), Column(type="text", null_values=contract.null_values))
        found.append(Rule(contract.key, "missing", gone, _said(contract.key, "missing key"), "a key"))
    for name, column in events(contract).items():
        expected = (contract.assembled.column if contract.assembled else column).expected
        found += _event_rules(name, column, schema[name], as_of, "" if name in contract.columns else expected)
    return found + field_rules(schema, contract)


def field_rules(schema: Any, contract: Contract) -> list[Rule]:
    """What is asked of the input columns and the target; see ``rules``."""
    target = contract.target.name
    return [r for name, one in fields(contract).items() for r in column_rules(name, one, schema[name], name == target)]


def input_rules(schema: Any, contract: Contract) -> list[Rule]:
    """What is asked of the input columns alone; see ``rules``."""
    return [r for name, column in contract.inputs.items() for r in column_rules(name, column, schema[name], False)]


def suspected(forms: pl.DataFrame, asked: Sequence[Rule]) -> list[Rule]:
    """Those of *asked* that rows of *forms* may break: most rules cannot fail in a table without gaps."""
    doubts = (rule.bad.any() if rule.possible is None else rule.possible for rule in asked)
    found = forms.select(doubt.alias(str(i)) for i, doubt in enumerate(doubts)).row(0) if asked else ()
    return [rule for rule, doubt in zip(asked, found, strict=True) if doubt]


def told(failed: Iterable[Rule]) -> pl.Expr:
    """What is wrong with a row, as the sentences of the *failed* rules that it breaks, ``; `` between them."""
    return pl.concat_str([pl.when(rule.bad).then(rule.text) for rule in failed], separator="; ", ignore_nulls=True)


def number(value: float) -> str:
    """A bound as one writes it: 1500 and 0.05, not 1500.0 and 5e-02."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def listed(values: Sequence[str]) -> str:
    """*values* with commas between them, and how many more there are after twelve."""
    more = f" and {len(values) - LISTED_VALUES:,} more" if len(values) > LISTED_VALUES else ""
    return ", ".join(values[:LISTED_VALUES]) + more


def column_rules(name: str, column: Column, dtype: Any, target: bool) -> Iterator[Rule]:
    """What is asked of one column, given both its forms; *dtype* is what the table held."""
    value, seen = pl.col(name), spelled(pl.col(raw(name)), dtype)
    gone = missing(raw(name), dtype, column)
    role = "the target is missing" if target else "missing"
    expected, gaps = _expected(column), value.null_count() > 0
    if not column.nullable:
        yield Rule(name, "missing", gone, _said(name, role), "a value in every row", gaps)
    if _can_fail(column, dtype):
        text = _said(name, pl.lit("'"), seen.str.slice(0, 40), pl.lit(f"' is {NOUNS[column.type]}"))
        hint = format_hint if column.type == "datetime" else None
        yield Rule(name, "wrong type", ~gone & value.is_null(), text, expected, gaps, hint)
    if column.range is not None and column.numeric:
        low, high = column.range
        bounds = f"[{number(low)}, {number(high)}]" + (f" {column.unit}" if column.unit else "")
        bad, beyond = ~value.is_between(low, high), (value.min() < low) | (value.max() > high)
        yield Rule(name, "out of range", bad.fill_null(False), _said(name, seen, f" out of {bounds}"), expected, beyond)
    if column.closed:
        bad = ~gone & ~one_of(value, column.values)
        text = _said(name, "'", seen.str.slice(0, 40), f"' is none of {listed(column.values)}")
        yield Rule(name, "unknown category", bad.fill_null(False), text, expected)


def _event_rules(name: str, column: Column, dtype: Any, as_of: datetime, expected: str) -> Iterator[Rule]:
    """What is asked of the event time; the rules of an input column say what is *expected*, where it is one too."""
    moment, seen = pl.col(name), spelled(pl.col(raw(name)), dtype).str.slice(0, 40)
    gone, gaps = missing(raw(name), dtype, column), moment.null_count() > 0
    if expected or column.nullable:
        yield Rule(name, "missing", gone, _said(name, "missing event time"), "a moment in every row", gaps)
    if expected:
        text = _said(name, "'", seen, f"' is {NOUNS['datetime']}")
        yield Rule(name, "wrong type", ~gone & moment.is_null(), text, expected, gaps, format_hint)
    late, newest = (moment > pl.lit(as_of)).fill_null(False), moment.max() > pl.lit(as_of)
    text = _said(name, seen, f" lies after {as_of:%Y-%m-%d %H:%M}")
    yield Rule(name, "in the future", late, text, f"not after {as_of:%Y-%m-%d %H:%M} UTC", newest)


def format_hint(cells: pl.Series) -> str:
    """Which formats read all *cells* that are no moments as they stand; of several none is guessed."""
    forms = fitting(cells) if cells.dtype == pl.String else ()
    if len(forms) > 1:
        several = " and by ".join(map(repr, forms[:FEW]))
        return f"they are read by format {several}, as other moments; say which in the contract"
    return f"format: {forms[0]!r} in the contract reads them" if forms else ""


def _said(name: str, *words: str | pl.Expr) -> pl.Expr:
    parts = [pl.lit(word) if isinstance(word, str) else word.fill_null("nothing") for word in words]
    return pl.concat_str([pl.lit(f"{name}: "), *parts])


def _expected(column: Column) -> str:
    return f"one of {listed(column.values)}" if column.closed else column.expected


def _can_fail(column: Column, dtype: Any) -> bool:
    """Whether a value of *dtype* may have no meaning in the column's type."""
    if column.type in ("category", "text") or dtype == pl.Null:
        return False
    if column.type == "datetime":
        return True
    if column.type == "bool":
        return bool(dtype != pl.Boolean)
    return not dtype.is_integer()

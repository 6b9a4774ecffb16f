"""The rule by which a row goes to the training side or the holdout side, decided by the row itself.

A row with a key is its key. One without is told from others by what its cells mean: the columns that the contract
names count, and others only where those leave rows alike, so that a column that is new, gone or different at each
export moves no row. A model keeps the rule it was trained by, and the next model takes its identity of rows over: a
column that the contract gains or loses moves no row either, as long as the table still has the old ones.

With the rule it is told of any row of any later table on which side it stood, and nothing of the rows is stored. A row
that came later stands where it would have stood: some that the model has not seen are taken for seen, none the other
way round; but of rows that are alike in every cell, in a table of such, which are the same to a model.
"""

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from components.data.dealing import key_cells
from components.data.meaning import value
from components.data.moments import moments
from components.data.rules import fields, meant
from components.data.snapshots import Mask
from components.data.stable_hash import Hashes, hash_rows, hash_values
from components.data.words import spelled
from components.steps.place import Place, s3_settings
from serving.bundle.files import JUDGED, SPLIT
from serving.contract import Column, Contract, Frozen
from serving.durations import LONGEST, parse, text
from serving.errors import ConfigError, DataError
from serving.ledger.ledger import open_ledger
from serving.store.store import Store, StoreKeyError, open_store

MONTHS = re.compile(r"^\s*(\d+)\s*(?:mo|months?)\s*$")
_SHARE = re.compile(r"^\s*0?\.\d+\s*$")
_RANGE = 2.0**64  # of the hashes
LOOKED_AT = 65_536  # rows that show whether columns tell rows apart; where many repeat, some of these do
DISTINCT = 0.9  # share of them that must differ, or many are alike
FEW = 0.5  # share below which most are, for there is little that they could hold: no table is so by being given twice


def _holdout(value: object) -> object:
    """A share as a number, a length of time as its text."""
    if isinstance(value, str) and _SHARE.match(value):
        value = float(value)
    if isinstance(value, float) and 0 < value < 1:
        return value
    if isinstance(value, str) and (months := MONTHS.match(value)) and 0 < int(months[1]) * 30 * 86_400 <= LONGEST:
        return f"{int(months[1])} months"
    if isinstance(value, str):
        try:
            if (length := parse(value)).total_seconds() > 0:
                return text(length)
        except ValueError:
            pass
    raise ValueError("expected a share between 0 and 1 such as 0.2, or a length of time such as 60d or 2 months")


class SplitPolicy(Frozen):
    """The ``split`` section of a project.

    Attributes:
        by: ``time`` holds out the newest events, ``group`` whole groups, ``random`` rows or keys by their hash.
        holdout: share of the rows (0..1), or, by time only, how far back from the newest event the holdout reaches
            (``60d``, ``2 months``).
        group: column whose values are kept together; by default the contract's key.
    """

    by: Literal["time", "group", "random"] = "random"
    holdout: Annotated[float | str, BeforeValidator(_holdout)] = 0.2
    group: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.by != "time" and isinstance(self.holdout, str):
            raise ValueError(f"'holdout' {self.holdout!r} is a length of time, which only 'by: time' understands")
        if self.by != "group" and self.group is not None:
            raise ValueError(f"'group' is for 'by: group', not for 'by: {self.by}'")
        return self


def check_policy(policy: SplitPolicy, contract: Contract) -> None:
    """Refuse a *policy* that needs a column which the *contract* does not name."""
    if policy.by == "time" and contract.event_time is None:
        raise ConfigError("split.by: time needs contract.event_time, the column with the moment of each row")
    if policy.by == "group" and policy.group is None and contract.key is None:
        raise ConfigError("split.by: group needs split.group or contract.key, the column whose rows stay together")


class Identity(Frozen):
    """What tells rows apart.

    Attributes:
        columns: by name; None where the text counts that stands there.
        event_time: column that counts as a moment, which ``event`` says how to read.
        counted: rows that are alike in all of it are told apart by how many of them stand above, since two that are the
            same to a model are so whichever came first.
    """

    columns: dict[str, Column | None]
    event_time: str | None = None
    event: Column = Column(type="datetime")
    counted: bool = False

    @classmethod
    def of(cls, chunks: Iterable[pl.DataFrame], contract: Contract) -> Self:
        """The columns that *contract* names, or all of them where these leave rows alike; *chunks* are raw rows.

        Rows that are alike and stay together must not be told from others by the target: where the rows with one answer
        are held out, those with the other are trained on, and a model of that cut is wrong more often than one of rows
        that are dealt. So where many are alike the target does not count, and where most are, each counts for itself.
        """
        event = None if contract.event_time in contract.columns else contract.event_time
        meant = {name: _meaning(one) for name, one in fields(contract).items()}
        named, looked_at = cls(columns=meant, event_time=event, event=contract.event), list[pl.DataFrame]()
        for chunk in chunks:
            looked_at.append(chunk.head(LOOKED_AT))
            if sum(part.height for part in looked_at) >= LOOKED_AT:
                break
        rows = pl.concat(looked_at)
        if pl.Series(named.hashes(rows)).n_unique() >= DISTINCT * rows.height:
            return named
        ours, schema = set(named.names), rows.schema
        others = {name: None for name, dtype in schema.items() if not dtype.is_nested() and name not in ours}
        every = cls(columns={**meant, **others}, event_time=event, event=contract.event)
        different = pl.Series(every.hashes(rows)).n_unique()
        if different >= DISTINCT * rows.height:
            return every
        if different < FEW * rows.height:
            return every.model_copy(update={"counted": True})
        asked = {name: one for name, one in every.columns.items() if name != contract.target.name}
        return every.model_copy(update={"columns": asked or every.columns})

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.columns, *(name for name in (self.event_time,) if name))

    def readable(self, schema: pl.Schema) -> bool:
        """Whether a table with *schema* has all of it, in types that can mean it."""
        try:
            return set(self.names) <= set(schema) and self.hashes(schema.to_frame()) is not None
        except DataError:
            return False

    def hashes(self, frame: pl.DataFrame, seed: int = 0) -> Hashes:
        """One hash for each row of *frame*, which has all ``names``; their order does not count, nor do others."""
        schema = frame.schema
        cells = {
            name: spelled(pl.col(name), schema[name]) if column is None else value(name, column, schema[name])
            for name, column in self.columns.items()
        }
        if self.event_time:
            cells[self.event_time] = moments(self.event_time, schema[self.event_time], self.event)
        found = hash_rows(frame.select(cells[name].alias(name) for name in sorted(cells)), seed)
        return _counted(found, seed) if self.counted else found


def _counted(hashes: Hashes, seed: int) -> Hashes:
    """Others for rows that are alike: each with the number of those above."""
    above = pl.DataFrame({"row": hashes}).with_columns(above=pl.int_range(pl.len(), dtype=pl.Int64).over("row"))
    return hash_rows(above, seed)


def _meaning(column: Column) -> Column:
    """*column* without what it may hold, so that another range or category moves no row; values only tell how cells
    are spelled."""
    free = {
        "range": None,
        "unit": "",
        "description": "",
        "nullable": False,
        "out_of_range": "refuse",
        "unknown": "refuse",
    }
    return column.model_copy(update=free)


class SplitRule(Frozen):
    """What decides of a row alone.

    Attributes:
        boundary: last moment of the training rows; None unless by time.
        identity: what tells rows apart at random; None where the key does.
        extremes: by class, the lowest and the highest hash of its rows; a class too small for the cut has one row on
            each side. All classes are cut at one hash, so their shares agree up to chance and rows stay where they are
            when rows are added; exact shares per class would move rows at the cut.
    """

    policy: SplitPolicy
    seed: int
    boundary: datetime | None = None
    identity: Identity | None = None
    extremes: dict[str, tuple[int, int]] = Field(default_factory=dict)

    def held(self, chunk: pl.DataFrame, meaning: pl.DataFrame, contract: Contract) -> Mask:
        """Which rows of *chunk*, whose cells mean *meaning* by *contract*, are held out."""
        if self.boundary is not None:
            later: Mask = (meaning[contract.event_time] > self.boundary).fill_null(False).to_numpy()
            return later
        share = self.policy.holdout
        assert isinstance(share, float)  # noqa: S101 - SplitPolicy refuses lengths of time here
        if self.policy.by == "group":
            return hash_values(self._groups(chunk, meaning, contract), self.seed) < share * _RANGE
        hashes = self.hashes(chunk, contract)
        held: Mask = hashes < share * _RANGE
        words = meaning[contract.target.name].to_numpy() if self.extremes else None
        for name, (low, high) in self.extremes.items():
            if low < high:
                held[(words == name) & (hashes == np.uint64(high))] = False
                held[(words == name) & (hashes == np.uint64(low))] = True
        return held

    def hashes(self, chunk: pl.DataFrame, contract: Contract) -> Hashes:
        """One for each row of *chunk*, by which it goes to a side at random."""
        if self.identity is not None:
            return self.identity.hashes(chunk, self.seed)
        return hash_values(key_cells(chunk, str(contract.key)), self.seed)

    def unseen(self, rows: pl.DataFrame, contract: Contract) -> pl.Series:
        """Which of *rows*, as a source sent them, a model of *contract* with this rule was surely not trained on.

        Raises:
            DataError: a column by which that is told is gone, or holds something else.
        """
        absent = [name for name in self._needed(contract) if name not in rows.columns]
        if absent:
            raise DataError(f"the table no longer has its {absent[0]}, which tells on which rows it was trained")
        here = {role: name for role in ("key", "event_time") if (name := getattr(contract, role)) in rows.columns}
        known = asked(self.policy, contract.model_copy(update={"key": None, "event_time": None, **here}))
        return pl.Series(self.held(rows, meant(rows, known), known))

    def _groups(self, chunk: pl.DataFrame, meaning: pl.DataFrame, contract: Contract) -> pl.Series:
        group = str(self.policy.group or contract.key)
        if group in meaning.columns:
            return meaning[group]
        if group not in chunk.columns:
            raise ConfigError(f"split.group: no column {group!r} among {', '.join(chunk.columns)}")
        return key_cells(chunk, group)

    def _needed(self, contract: Contract) -> tuple[str | None, ...]:
        if self.policy.by == "time":
            return (contract.event_time,)
        if self.policy.by == "group":
            return (self.policy.group or contract.key,)
        return self.identity.names if self.identity else (contract.key,)


def asked(policy: SplitPolicy, contract: Contract) -> Contract:
    """As much of *contract* as a cut asks for."""
    return contract.model_copy(
        update={"columns": {k: v for k, v in contract.columns.items() if k in (policy.group, contract.event_time)}}
    )


def inherited(model: str, place: Place) -> Identity | None:
    """The identity of rows that the champion of *model* was trained by; None where there is none, or no such model."""
    ledger = open_ledger(place.ledger)
    number = ledger.slot(model, "production").version
    if number is None:
        return None
    store, bundle = open_store(place.store, s3_settings(place)), f"{model}/{ledger.version(model, number).digest}"
    try:
        kept = _first(store, f"{bundle}/{SPLIT}", f"{bundle}/{JUDGED}/{SPLIT}")
        return Identity.model_validate(json.loads(kept)["identity"])
    except (StoreKeyError, ValidationError, ValueError, KeyError):
        return None  # of a model that was made before, or by time, group or key


def _first(store: Store, *keys: str) -> bytes:
    """What the first of *keys* that is there holds: a model of all rows has its rule with the one that was judged."""
    for key in keys[:-1]:
        try:
            return store.get(key)
        except StoreKeyError:
            continue
    return store.get(keys[-1])

"""Which rows a model learns from and which it is judged on.

By time, the newest events are held out. By group or at random, a stable hash of the group, key or row decides, so a row
never changes sides when rows are added, and the share that is held out is met up to chance. In every mode no key stands
on both sides: training rows of a key that is held out are dropped, and counted.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import BeforeValidator, model_validator

from components.data.dealing import key_cells
from components.data.rules import meant, named
from components.data.snapshots import Mask
from components.data.stable_hash import Hashes, hash_rows, hash_values
from serving.contract import Contract, Frozen
from serving.durations import parse, text
from serving.errors import ConfigError, DataError

_MONTHS = re.compile(r"^\s*(\d+)\s*(?:mo|months?)\s*$")
_SHARE = re.compile(r"^\s*0?\.\d+\s*$")
_RANGE = 2.0**64  # of the hashes


def _holdout(value: object) -> object:
    """A share as a number, a length of time as its text."""
    if isinstance(value, str) and _SHARE.match(value):
        value = float(value)
    if isinstance(value, float) and 0 < value < 1:
        return value
    if isinstance(value, str) and (months := _MONTHS.match(value)) and int(months[1]):
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


@dataclass(frozen=True)
class HoldoutSplit:
    """Two tables with the columns and the row order of the one that was split, and how it was divided."""

    train: pl.DataFrame
    holdout: pl.DataFrame
    sentence: str


def split(frame: pl.DataFrame, policy: SplitPolicy, contract: Contract, seed: int) -> HoldoutSplit:
    """Divide the accepted rows of a table; *seed* deals another hand, except by time.

    Raises:
        ConfigError: the policy needs an event time or a group that the contract and the table do not have.
        DataError: a side is empty, or has one class only.
    """
    cut = decide(lambda function: [function(frame)], policy, contract, seed)
    sides = cut.sides(frame)
    sentence = cut.sentence([sides])
    return HoldoutSplit(frame.filter(pl.Series(sides.train)), frame.filter(pl.Series(sides.held)), sentence)


def masks(frame: pl.DataFrame, policy: SplitPolicy, contract: Contract, seed: int) -> tuple[Mask, Mask]:
    """Training rows and held-out rows of *frame*, each (n_rows,); a side may be empty or lack a class.

    The holdout and the folds of the search are both cut here.
    """
    sides = decide(lambda function: [function(frame)], policy, contract, seed).sides(frame)
    return sides.train, sides.held


def columns(policy: SplitPolicy, contract: Contract) -> list[str] | None:
    """Those that decide where a row goes; None: all of them."""
    if policy.by == "random" and contract.key is None:
        return None
    return [*named(_asked(policy, contract)), *([policy.group] if policy.group else [])]


def decide(each: Callable[[Any], Iterable[Any]], policy: SplitPolicy, contract: Contract, seed: int) -> "Cut":
    """Where a table is cut; raises as ``split``.

    Args:
        each: gives what a function makes of each of the table's chunks, which need no more than ``columns``.
    """
    check_policy(policy, contract)
    cut = Cut(policy, _asked(policy, contract), seed)
    if policy.by == "time":
        return replace(cut, boundary=_boundary(pl.concat(each(cut.moments)), policy))
    if policy.by == "random" and contract.task == "classification":
        return replace(cut, extremes=_outermost(each(cut.of_classes)))
    return cut


@dataclass(frozen=True)
class Sides:
    """Which rows of a chunk train and which are held out, each (n_rows,).

    Attributes:
        classes: of the training rows and of those held out.
        newest: event that is held out, by time.
    """

    train: Mask
    held: Mask
    classes: tuple[set[str], set[str]]
    newest: datetime | None = None


@dataclass(frozen=True)
class Cut:
    """On which side each row stands; a chunk that is asked about must hold all rows of its keys.

    Attributes:
        boundary: last moment of the training rows; None unless by time.
        extremes: by class, the lowest and the highest hash of its rows; a class too small for the cut has one row on
            each side. All classes are cut at one hash, so their shares agree up to chance and rows stay where they are
            when rows are added; exact shares per class would move rows at the cut.
    """

    policy: SplitPolicy
    contract: Contract
    seed: int
    boundary: datetime | None = None
    extremes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def sides(self, chunk: pl.DataFrame) -> Sides:
        """On which side the rows of *chunk* stand."""
        meaning = meant(chunk, self.contract)
        held = self._held(chunk, meaning)
        train = ~held & ~_shares_key(meaning, held, self.contract)
        learned, judged = meaning.filter(pl.Series(train)), meaning.filter(pl.Series(held))
        newest = None if self.boundary is None else judged[self.contract.event_time].max()
        return Sides(train, held, (self._classes(learned), self._classes(judged)), newest)

    def moments(self, chunk: pl.DataFrame) -> pl.Series:
        """When the events of *chunk* happened."""
        return meant(chunk, self.contract)[self.contract.event_time]

    def of_classes(self, chunk: pl.DataFrame) -> dict[str, tuple[int, int]]:
        """``extremes`` of *chunk* alone."""
        target, hashes = meant(chunk, self.contract)[self.contract.target.name], self._hashes(chunk)
        words = target.to_numpy()
        return {
            name: (int(hashes[words == name].min()), int(hashes[words == name].max()))
            for name in target.drop_nulls().unique()
        }

    def sentence(self, sides: Sequence[Sides]) -> str:
        """'by time: train until 2025-10-31 (28,412 rows), holdout after (2,514 rows)', given all chunks' *sides*.

        Raises:
            DataError: a side is empty, or has one class only.
        """
        train, holdout = sum(int(side.train.sum()) for side in sides), sum(int(side.held.sum()) for side in sides)
        dropped = sum(len(side.held) for side in sides) - train - holdout
        learned, judged = (set[str]().union(*(side.classes[i] for side in sides)) for i in (0, 1))
        self._check("train", train, dropped, learned, judged)
        self._check("holdout", holdout, dropped, judged, judged)
        if self.boundary is not None:
            newest = max(side.newest for side in sides if side.newest is not None)
            train_words = f"train until {self.boundary:%Y-%m-%d} ({train:,} rows)"
            words = f"by time: {train_words}, holdout until {newest:%Y-%m-%d} ({holdout:,} rows)"
        else:
            mode = "by group" if self.policy.by == "group" else "at random"
            unit = self.policy.group or self.contract.key or "row"
            share = holdout / (train + holdout)
            words = f"{mode}, by hash of {unit}: train {train:,} rows, holdout {holdout:,} rows ({share:.1%})"
        gone = f"; {dropped:,} training rows dropped, their {self.contract.key} is in the holdout" if dropped else ""
        return words + gone

    def _held(self, chunk: pl.DataFrame, meaning: pl.DataFrame) -> Mask:
        if self.boundary is not None:
            later: Mask = (meaning[self.contract.event_time] > self.boundary).fill_null(False).to_numpy()
            return later
        share = self.policy.holdout
        assert isinstance(share, float)  # noqa: S101 - SplitPolicy refuses lengths of time here
        if self.policy.by == "group":
            return hash_values(self._groups(chunk, meaning), self.seed) < share * _RANGE
        hashes = self._hashes(chunk)
        held: Mask = hashes < share * _RANGE
        words = meaning[self.contract.target.name].to_numpy() if self.extremes else None
        for name, (low, high) in self.extremes.items():
            if low < high:
                held[(words == name) & (hashes == np.uint64(high))] = False
                held[(words == name) & (hashes == np.uint64(low))] = True
        return held

    def _hashes(self, chunk: pl.DataFrame) -> Hashes:
        key = self.contract.key
        return hash_values(key_cells(chunk, key), self.seed) if key else hash_rows(chunk, self.seed)

    def _groups(self, chunk: pl.DataFrame, meaning: pl.DataFrame) -> pl.Series:
        group = str(self.policy.group or self.contract.key)
        if group in meaning.columns:
            return meaning[group]
        if group not in chunk.columns:
            raise ConfigError(f"split.group: no column {group!r} among {', '.join(chunk.columns)}")
        return key_cells(chunk, group)

    def _classes(self, meaning: pl.DataFrame) -> set[str]:
        target = self.contract.target
        return set(meaning[target.name].unique()) if target.classes else set()

    def _check(self, side: str, rows: int, dropped: int, here: set[str], judged: set[str]) -> None:
        """Both sides need rows and two classes, and nothing can be judged on a class that the training rows lack."""
        target, policy = self.contract.target, self.policy
        if not rows:
            also = f"; {dropped:,} rows were dropped because their key is in the holdout" if dropped else ""
            raise DataError(
                f"the {side} side of the split is empty{also}: expected rows on both sides of split "
                f"{{by: {policy.by}, holdout: {policy.holdout}}}; change split.holdout or bring more rows"
            )
        if target.classes and (len(here) < 2 or judged - here):
            seen = ", ".join(name for name in target.classes if name in here)
            raise DataError(
                f"the {side} side of the split has only class {seen} of {target.name}: expected "
                f"{', '.join(target.classes)}; change split.holdout or split.by, or bring more rows"
            )


def _asked(policy: SplitPolicy, contract: Contract) -> Contract:
    """As much of *contract* as a cut asks for."""
    return contract.model_copy(update={"columns": {k: v for k, v in contract.columns.items() if k == policy.group}})


def _outermost(found: Iterable[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    both: dict[str, tuple[int, int]] = {}
    for of_chunk in found:
        for name, (low, high) in of_chunk.items():
            lowest, highest = both.get(name, (low, high))
            both[name] = min(low, lowest), max(high, highest)
    return both


def _boundary(moments: pl.Series, policy: SplitPolicy) -> datetime:
    """The last moment of the training rows."""
    if not len(moments):
        raise DataError("cannot split an empty table: expected at least two rows, got none")
    newest = moments.max()
    assert isinstance(newest, datetime)  # noqa: S101 - validation refuses rows without a moment
    if isinstance(policy.holdout, float):
        return _earlier_than_share(moments, policy.holdout, newest)
    if months := _MONTHS.match(policy.holdout):
        back: datetime = pl.Series([newest]).dt.offset_by(f"-{int(months[1])}mo")[0]
        return back
    return newest - parse(policy.holdout)


def _earlier_than_share(moments: pl.Series, share: float, newest: datetime) -> datetime:
    """The moment after which about *share* of the events lie; equal moments stay together."""
    ordered = moments.sort()
    boundary: datetime = ordered[max(len(ordered) - 1 - max(round(share * len(ordered)), 1), 0)]
    earlier = ordered.filter(ordered < newest)
    return boundary if boundary < newest or not len(earlier) else earlier[-1]


def _shares_key(meaning: pl.DataFrame, held: Mask, contract: Contract) -> Mask:
    """Rows whose key stands on a held-out row."""
    if contract.key is None:
        return np.zeros(meaning.height, dtype=bool)
    keys = meaning[contract.key]
    shared: Mask = keys.is_in(keys.filter(pl.Series(held)).unique().implode()).fill_null(False).to_numpy()
    return shared

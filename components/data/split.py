"""Which rows a model learns from and which it is judged on.

By time, the newest events are held out. By group or at random, a stable hash of the group, key or row decides, so a row
never changes sides when rows are added, and the share that is held out is met up to chance. In every mode no key stands
on both sides: training rows of a key that is held out are dropped, and counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from components.data.moments import event_of
from components.data.rules import meant, named
from components.data.snapshots import Mask
from components.data.split_rule import MONTHS, Identity, SplitPolicy, SplitRule, asked, check_policy
from serving.contract import Contract
from serving.durations import parse
from serving.errors import DataError

__all__ = ["Cut", "HoldoutSplit", "SplitPolicy", "check_policy", "columns", "decide", "masks", "split"]


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
    return [*named(asked(policy, contract)), *([policy.group] if policy.group else [])]


def decide(
    each: Callable[[Any], Iterable[Any]],
    policy: SplitPolicy,
    contract: Contract,
    seed: int,
    identity: Identity | None = None,
) -> "Cut":
    """Where a table is cut; raises as ``split``.

    Args:
        each: gives what a function makes of each of the table's chunks, which need no more than ``columns``.
        identity: by which rows were told apart before; it stands as long as the table has its columns.
    """
    check_policy(policy, contract)
    cut = Cut(SplitRule(policy=policy, seed=seed), asked(policy, contract))
    if policy.by == "time":
        return cut.knowing(boundary=_boundary(pl.concat(each(cut.moments)), policy))
    if policy.by == "random" and contract.key is None:
        known = identity and identity.readable(next(iter(each(lambda chunk: chunk.schema))))
        cut = cut.knowing(identity=identity if known else Identity.of(each(lambda chunk: chunk), contract))
    if policy.by == "random" and contract.task == "classification":
        return cut.knowing(extremes=_outermost(each(cut.of_classes)))
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
        contract: as much of it as the rule asks for.
    """

    rule: SplitRule
    contract: Contract

    def knowing(self, **facts: Any) -> "Cut":
        """The same with more *facts* in its rule."""
        return Cut(self.rule.model_copy(update=facts), self.contract)

    def sides(self, chunk: pl.DataFrame) -> Sides:
        """On which side the rows of *chunk* stand."""
        meaning = meant(chunk, self.contract)
        held = self.rule.held(chunk, meaning, self.contract)
        train = ~held & ~_shares_key(meaning, held, self.contract)
        learned, judged = meaning.filter(pl.Series(train)), meaning.filter(pl.Series(held))
        newest = None if self.rule.boundary is None else judged[self.contract.event_time].max()
        return Sides(train, held, (self._classes(learned), self._classes(judged)), newest)

    def moments(self, chunk: pl.DataFrame) -> pl.Series:
        """When the events of *chunk* happened."""
        return event_of(chunk, self.contract)

    def of_classes(self, chunk: pl.DataFrame) -> dict[str, tuple[int, int]]:
        """``extremes`` of *chunk* alone."""
        target, hashes = meant(chunk, self.contract)[self.contract.target.name], self.rule.hashes(chunk, self.contract)
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
        if self.rule.boundary is not None:
            newest = max(side.newest for side in sides if side.newest is not None)
            train_words = f"train until {self.rule.boundary:%Y-%m-%d} ({train:,} rows)"
            words = f"by time: {train_words}, holdout until {newest:%Y-%m-%d} ({holdout:,} rows)"
        else:
            mode = "by group" if self.rule.policy.by == "group" else "at random"
            unit = self.rule.policy.group or self.contract.key or "row"
            share = holdout / (train + holdout)
            words = f"{mode}, by hash of {unit}: train {train:,} rows, holdout {holdout:,} rows ({share:.1%})"
        gone = f"; {dropped:,} training rows dropped, their {self.contract.key} is in the holdout" if dropped else ""
        return words + gone

    def _classes(self, meaning: pl.DataFrame) -> set[str]:
        target = self.contract.target
        return set(meaning[target.name].unique()) if target.classes else set()

    def _check(self, side: str, rows: int, dropped: int, here: set[str], judged: set[str]) -> None:
        """Both sides need rows and two classes, and nothing can be judged on a class that the training rows lack."""
        target, policy = self.contract.target, self.rule.policy
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
    if months := MONTHS.match(policy.holdout):
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

"""Which rows a model learns from and which it is judged on.

By time, the newest events are held out. By group or at random, a stable hash of the group, key or row decides, so a row
never changes sides when rows are added, and the share that is held out is met up to chance. In every mode no key stands
on both sides: training rows of a key that is held out are dropped, and counted.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BeforeValidator, model_validator

from components.data.stable_hash import hash_rows, hash_values
from serving.contract import Contract, Frozen
from serving.durations import parse, text
from serving.errors import ConfigError, DataError

Mask = npt.NDArray[np.bool_]

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
    train, held, boundary = masks(frame, policy, contract, seed)
    sides = {"train": frame.filter(pl.Series(train)), "holdout": frame.filter(pl.Series(held))}
    dropped = frame.height - sides["train"].height - sides["holdout"].height
    _check_sides(sides, policy, contract, dropped)
    return HoldoutSplit(**sides, sentence=_sentence(sides, policy, contract, dropped, boundary))


def masks(
    frame: pl.DataFrame, policy: SplitPolicy, contract: Contract, seed: int
) -> tuple[Mask, Mask, datetime | None]:
    """Training rows and held-out rows of *frame*, each (n_rows,), and by time the last moment of the training rows.

    The holdout and the folds of the search are both cut here; a side may be empty or lack a class.
    """
    check_policy(policy, contract)
    boundary = _boundary(frame[contract.event_time], policy) if policy.by == "time" else None
    held = _held_out(frame, policy, contract, seed, boundary)
    return ~held & ~_shares_key(frame, held, contract), held, boundary


def _held_out(
    frame: pl.DataFrame, policy: SplitPolicy, contract: Contract, seed: int, boundary: datetime | None
) -> Mask:
    if boundary is not None:
        later: Mask = (frame[contract.event_time] > boundary).fill_null(False).to_numpy()
        return later
    share = policy.holdout
    assert isinstance(share, float)  # noqa: S101 - SplitPolicy refuses lengths of time here
    if policy.by == "group":
        return hash_values(frame[_group(frame, policy, contract)], seed) < share * _RANGE
    hashes = hash_values(frame[contract.key], seed) if contract.key else hash_rows(frame, seed)
    held: Mask = hashes < share * _RANGE
    return held if contract.task == "regression" else _with_every_class(held, hashes, frame[contract.target.name])


def _boundary(moments: pl.Series, policy: SplitPolicy) -> datetime:
    """The last moment of the training rows."""
    if not len(moments):
        raise DataError("cannot split an empty table: expected at least two rows, got none")
    newest = moments.max()
    assert isinstance(newest, datetime)  # noqa: S101 - validation casts event times
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


def _group(frame: pl.DataFrame, policy: SplitPolicy, contract: Contract) -> str:
    group = str(policy.group or contract.key)
    if group not in frame.columns:
        raise ConfigError(f"split.group: no column {group!r} among {', '.join(frame.columns)}")
    return group


def _with_every_class(held: Mask, hashes: npt.NDArray[np.uint64], target: pl.Series) -> Mask:
    """*held* corrected for classes too small for the cut: the lowest hash of a class is held out, the highest trains.

    All classes are cut at one hash, so their shares agree up to chance and rows stay where they are when rows are
    added; exact shares per class would move rows at the cut.
    """
    held = held.copy()
    names = target.to_numpy()
    for name in target.drop_nulls().unique().sort():
        of_class = hashes[names == name]
        if of_class.min() < of_class.max():
            held[hashes == of_class.max()] = False
            held[hashes == of_class.min()] = True
    return held


def _shares_key(frame: pl.DataFrame, held: Mask, contract: Contract) -> Mask:
    """Rows whose key stands on a held-out row."""
    if contract.key is None:
        return np.zeros(frame.height, dtype=bool)
    keys = frame[contract.key]
    shared: Mask = keys.is_in(keys.filter(pl.Series(held)).unique().implode()).fill_null(False).to_numpy()
    return shared


def _check_sides(sides: dict[str, pl.DataFrame], policy: SplitPolicy, contract: Contract, dropped: int) -> None:
    for side, table in sides.items():
        if not table.height:
            also = f"; {dropped:,} rows were dropped because their key is in the holdout" if dropped else ""
            raise DataError(
                f"the {side} side of the split is empty{also}: expected rows on both sides of split "
                f"{{by: {policy.by}, holdout: {policy.holdout}}}; change split.holdout or bring more rows"
            )
        _check_classes(side, table, sides, contract)


def _check_classes(side: str, table: pl.DataFrame, sides: dict[str, pl.DataFrame], contract: Contract) -> None:
    """Both sides need two classes, and nothing can be judged on a class the training rows lack."""
    target = contract.target
    if not target.classes:
        return
    here = set(table[target.name].unique())
    absent = set(sides["holdout"][target.name].unique()) - here
    if len(here) < 2 or absent:
        seen = ", ".join(name for name in target.classes if name in here)
        raise DataError(
            f"the {side} side of the split has only class {seen} of {target.name}: expected "
            f"{', '.join(target.classes)}; change split.holdout or split.by, or bring more rows"
        )


def _sentence(
    sides: dict[str, pl.DataFrame], policy: SplitPolicy, contract: Contract, dropped: int, boundary: datetime | None
) -> str:
    """'by time: train until 2025-10-31 (28,412 rows), holdout after (2,514 rows); 141 rows dropped, ...'."""
    train, holdout = sides["train"].height, sides["holdout"].height
    if boundary is not None:
        newest = sides["holdout"][contract.event_time].max()
        train_words = f"train until {boundary:%Y-%m-%d} ({train:,} rows)"
        words = f"by time: {train_words}, holdout until {newest:%Y-%m-%d} ({holdout:,} rows)"
    else:
        mode = "by group" if policy.by == "group" else "at random"
        unit = policy.group or contract.key or "row"
        share = holdout / (train + holdout)
        words = f"{mode}, by hash of {unit}: train {train:,} rows, holdout {holdout:,} rows ({share:.1%})"
    return words + (f"; {dropped:,} training rows dropped, their {contract.key} is in the holdout" if dropped else "")

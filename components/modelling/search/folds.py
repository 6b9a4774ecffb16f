"""How the training rows are cut for a search, as the holdout is cut, and the features that trials make of them."""

import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.pipeline import Pipeline

from components.data.split import SplitPolicy, masks
from components.data.tables import Vector
from serving.contract import Contract
from serving.errors import ConfigError

FOLDS = 3
FOLD_ROWS = 5_000  # up to which a deal of the rows is repeated
ROLLED_ROWS = 50_000  # up to which several stretches of time are predicted
MOST_KEPT = 20_000_000  # cells of one kind of features: 160 MB

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Features:
    """What a fitted *head* of a pipeline makes of the rows that are learned and of those held out."""

    head: Pipeline
    rows: Any
    held: Any


@dataclass(frozen=True)
class Fold:
    """Rows to learn from, and rows *held* out to judge what was learned.

    Trials of a search differ in their estimators; features are made in two or three ways, and of many columns cost as
    much as the fit. Two threads may make the same, which changes nothing.
    """

    rows: Rows
    held: Rows
    _kept: dict[Hashable, Features] = field(default_factory=dict, repr=False, compare=False)

    def features(self, way: Hashable, make: Callable[[], Features]) -> Features:
        """Those made in this *way*."""
        found = self._kept.get(way)
        if found is None:
            found = make()
            if found.rows.size + found.held.size <= MOST_KEPT:
                self._kept[way] = found
        return found


def choose_folds(
    table: pl.DataFrame, target: Vector, policy: SplitPolicy, contract: Contract, seed: int
) -> tuple[list[Fold], str]:
    """The training rows, cut as *policy* cuts the holdout, and the words for it.

    Raises:
        ConfigError: too few rows, or every cut leaves a side empty or without a class.
    """
    n = len(table)
    if n < 2 * FOLDS:
        raise ConfigError(f"search needs at least {2 * FOLDS} training rows, seen {n}; empty 'search.space' to skip it")
    by_time = policy.by == "time"
    cuts = _rolling(table, target, policy, contract, seed) if by_time else _cuts(table, target, policy, contract, seed)
    folds = list(itertools.islice(cuts, FOLDS if n <= (ROLLED_ROWS if by_time else FOLD_ROWS) else 1))
    if not folds:
        raise ConfigError(
            f"search: no cut of the {n:,} training rows {{by: {policy.by}}} has rows and every class on both sides;"
            " bring more rows, or empty 'search.space' to skip it"
        )
    return folds, _words(policy, contract, len(folds), len(folds[0].held) / n)


def _cuts(table: pl.DataFrame, target: Vector, policy: SplitPolicy, contract: Contract, seed: int) -> Iterator[Fold]:
    cuts = (_cut(table, target, one, contract, deal) for one, deal in _deals(policy, seed, few=len(table) <= FOLD_ROWS))
    return (cut for cut in cuts if cut is not None)


def _rolling(table: pl.DataFrame, target: Vector, policy: SplitPolicy, contract: Contract, seed: int) -> Iterator[Fold]:
    """The newest rows by a model of what is older, then the newest of those, and so on (rolling origin).

    One stretch of time has a luck of its own, which a hundred trials find: what comes next has another.
    """
    rows = np.arange(len(table))
    while len(rows) >= 2 * FOLDS:
        cut = next(_cuts(table[rows], target[rows], policy, contract, seed), None)
        if cut is None:
            return
        rows, held = rows[cut.rows], rows[cut.held]
        yield Fold(rows, held)


def _deals(policy: SplitPolicy, seed: int, *, few: bool) -> Iterator[tuple[SplitPolicy, int]]:
    """Cuts to try in order; the holdout's own seed would find no row, since it has them all."""
    if policy.by == "time":  # where keys recur, a smaller newest part leaves more of the older rows
        yield from ((policy.model_copy(update={"holdout": share}), seed) for share in (0.2, 0.1, 0.05))
        return
    one = policy.model_copy(update={"holdout": 1 / FOLDS if few else 0.2})
    yield from ((one, seed + more) for more in range(1, 4 * FOLDS))


def _cut(table: pl.DataFrame, target: Vector, policy: SplitPolicy, contract: Contract, seed: int) -> Fold | None:
    """Row numbers of both sides; None where one is empty or a class is missing that the other, or the table, has."""
    train, held = masks(table, policy, contract, seed)
    if not train.any() or not held.any():
        return None
    if contract.task == "classification" and (
        len(np.unique(target[train])) < len(np.unique(target)) or len(np.unique(target[held])) < 2
    ):
        return None
    return Fold(np.flatnonzero(train), np.flatnonzero(held))


def _words(policy: SplitPolicy, contract: Contract, folds: int, share: float) -> str:
    if policy.by == "time":
        words = f"the newest {share:.0%} of the training rows by {contract.event_time}"
        words += f", then the newest of those left, {folds} times" if folds > 1 else ""
    else:
        words = (
            f"{folds} deals of {share:.0%} of the training rows" if folds > 1 else f"{share:.0%} of the training rows"
        )
    whole = " and ".join(dict.fromkeys(name for name in (policy.group, contract.key) if name))
    return words + (f", whole by {whole}" if whole else "")

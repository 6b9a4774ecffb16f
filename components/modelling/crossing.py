"""Training rows predicted by models that have not seen them: what intervals, calibration and threshold are fitted on.

Rows are dealt to folds as ``judging.jackknife`` deals them to blocks: whole groups and keys, or any rows; each fold is
predicted by a model of all others (cross-conformal: Vovk 2015; Barber and others 2021). By time the newest two fifths
are cut into folds, each predicted by a model of what is older (rolling origin), since no model knows what comes after.
The model of the bundle is then fitted on all of the training rows, so it is a little better than what is told of it.
The held-out rows touch none of this.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.split_rule import SplitRule
from components.judging import jackknife, metrics
from components.judging.jackknife import Blocks
from components.judging.metrics import Values
from components.judging.said import Said
from serving.contract import Contract, Matrix

Rows = npt.NDArray[np.intp]
OLDEST = 0.6  # of the training rows by time, which are only learned from


@dataclass(frozen=True)
class Crossed:
    """Predictions of rows by models that have not seen them.

    Attributes:
        rows: which of the training rows, ascending.
        predicted: (n,) numbers or (n, n_classes) probabilities; target: (n,) truths; parts: the block of each.
    """

    rows: Rows
    predicted: Values
    target: Values
    parts: Blocks


def crossed(
    table: pl.DataFrame,
    contract: Contract,
    rule: str,
    matrix: Matrix,
    target: Values,
    folds: int,
    fit: Callable[[Rows], Callable[[Matrix], Values]],
    deal: int = 0,
) -> Crossed:
    """Each of the rows of *table* by the model that *fit* makes of others.

    Args:
        fit: from rows to what predicts with a model of them.
        rule: ``SplitRule`` as JSON, by which the held-out rows were cut off.
        matrix: the coded rows; *target* their truths.
        deal: in which of many ways rows are dealt to folds.
    """
    parts = jackknife.blocks(table, contract, rule, deal)
    pairs = _pairs(parts, folds, by_time=SplitRule.model_validate_json(rule).policy.by == "time")
    found = [(held, fit(learned)(matrix[held])) for learned, held in pairs if len(learned) and len(held)]
    rows = np.concatenate([held for held, _ in found])
    order = np.argsort(rows, kind="stable")
    values = np.concatenate([said for _, said in found])[order]
    return Crossed(rows[order], values, target[rows[order]], parts[rows[order]])


def over_deals(
    deals: Sequence[Crossed], folds: int, said: Callable[[Values], Said], contract: Contract
) -> dict[str, tuple[float, float]]:
    """Means of the metrics of each fold of all *deals*, with their standard errors; those known in every fold.

    The folds share most of their training rows and each deal has the same rows, so their spread alone says too little:
    the error is corrected as by Nadeau and Bengio ("Inference for the generalization error", Machine Learning 52, 2003)
    to the root of (1 / values + rows predicted / rows learned from) times the variance of the values.

    Args:
        said: all that is said of predictions.
    """
    values, ratios = [], []
    for found in deals:
        every = said(found.predicted)
        for fold in np.unique(found.parts % folds):
            held = found.parts % folds == fold
            values.append(metrics.compute(contract.task, found.target[held], every[held]))
            ratios.append(held.sum() / (~held).sum())
    figures = {name: np.array([one[name] for one in values]) for name in values[0]}
    inflated = 1 / len(values) + float(np.mean(ratios))
    return {
        name: (float(each.mean()), float(np.sqrt(inflated * each.var(ddof=1))))
        for name, each in figures.items()
        if np.isfinite(each).all()
    }


def _pairs(parts: Blocks, folds: int, *, by_time: bool) -> list[tuple[Rows, Rows]]:
    """What is learned from and what is predicted by it, for each fold."""
    if not by_time:
        return [(np.flatnonzero(parts % folds != fold), np.flatnonzero(parts % folds == fold)) for fold in range(folds)]
    blocks = int(parts.max()) + 1
    cuts = np.unique(np.round(np.linspace(OLDEST * blocks, blocks, folds + 1)).astype(int))
    return [
        (np.flatnonzero(parts < first), np.flatnonzero((parts >= first) & (parts < end)))
        for first, end in itertools.pairwise(cuts)
    ]

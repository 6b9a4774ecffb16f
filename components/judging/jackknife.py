"""How far a figure, or the difference of two, would lie elsewhere on other rows of the same kind.

Rows are dealt to blocks that are about as good as independent: stretches of time, whole groups or keys, or any rows.
Each figure is computed again without each block in turn, and the spread of these values is its standard error (the
grouped jackknife: Quenouille 1956, Tukey 1958; Efron and Tibshirani 1993, chapter 11). One estimator serves every
metric, also those that are no mean over rows such as AUC; it needs no draw, so equal rows give equal intervals.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.dealing import key_cells
from components.data.moments import event_of
from components.data.split_rule import SplitRule
from components.data.stable_hash import hash_values
from components.judging import metrics
from components.judging.metrics import Task, Values
from components.judging.said import Said
from serving.contract import Contract, Frozen

Blocks = npt.NDArray[np.intp]
MOST = 50
OF_TIME = 20  # few, so that what lasts an afternoon or a week stays within one
OF_MANY = 20  # of tables so long that a block is thousands of rows anyway
LONG = 200_000
OF_SLICES = 20  # as there are many of them
FEWEST = 5  # a spread of fewer is none


class Gain(Frozen):
    """By how much a candidate's loss is lower than another's on the same rows, in the metric's unit.

    Attributes:
        error: standard error of ``value``.
        blocks: of how many blocks of rows it was taken.
    """

    value: float
    error: float
    blocks: int

    def least(self, confidence: float) -> float:
        """What the gain is at least, with a one-sided *confidence* of 0.5..1 by Student's t."""
        return self.value - self.error * quantile(confidence, self.blocks)


def quantile(confidence: float, blocks: int) -> float:
    """Of Student's t for the mean of *blocks* values."""
    from scipy.special import stdtrit  # only where an interval is asked for

    return float(stdtrit(max(blocks - 1, 1), confidence))


def blocks(rows: pl.DataFrame, contract: Contract, rule: str = "", deal: int = 0) -> Blocks:
    """The block of each of *rows*: (n_rows,) of numbers from 0.

    Args:
        rule: ``SplitRule`` as JSON, by which the rows were held out; by time they are cut where time is.
        deal: each number deals rows, keys or groups in another way; time has one order.
    """
    n = rows.height
    most = min(n, OF_MANY if n > LONG else MOST)
    policy = SplitRule.model_validate_json(rule).policy if rule else None
    if policy is not None and policy.by == "time" and contract.event_time in rows.columns:
        when = event_of(rows, contract)
        rank = when.rank("ordinal", seed=0).fill_null(n).to_numpy() - 1
        return np.asarray(rank * min(n, OF_TIME) // n, dtype=np.intp)
    group = (policy.group if policy else None) or contract.key
    if group in rows.columns:
        return (hash_values(key_cells(rows, str(group)), 1 + deal) % np.uint64(most)).astype(np.intp)
    return np.asarray(np.random.default_rng(deal).permutation(n) % max(most, 1), dtype=np.intp)


def without_each(
    task: Task, target: Values, prediction: Values | Said, parts: Blocks, names: Sequence[str]
) -> dict[str, Values]:
    """The metrics *names* without each block, (n_blocks,) each, in the order of the blocks; NaN where undefined."""
    said = Said.of(prediction)
    if not np.isfinite(said.values).all():
        return {}
    kinds = [metrics.METRICS[name] for name in names]
    made = []
    for part in np.unique(parts):
        kept = parts != part
        made.append([kind.of(target[kept], said[kept]) if kept.any() else math.nan for kind in kinds])
    return dict(zip(names, np.array(made).T, strict=True)) if made else {}


def spread(values: Values) -> float:
    """Standard error of a figure, given its *values* without each of the blocks; NaN of fewer than five."""
    n = len(values)
    return float(np.sqrt((n - 1) / n * np.sum((values - values.mean()) ** 2))) if n >= FEWEST else math.nan


def errors(
    task: Task, target: Values, prediction: Values | Said, parts: Blocks, values: Mapping[str, float]
) -> dict[str, float]:
    """Standard errors of the metrics *values* by name; those that are not known are left out."""
    found = without_each(task, target, prediction, parts, tuple(values))
    known = {name: spread(each) for name, each in found.items()}
    return {name: value for name, value in known.items() if math.isfinite(value)}


def told(
    task: Task, target: Values, prediction: Said, parts: Blocks | None, values: Mapping[str, float]
) -> dict[str, Any]:
    """How sure *values* are and of how many blocks it was told, as an evaluation keeps it; nothing without *parts*."""
    if parts is None or not values:
        return {}
    return {"errors": errors(task, target, prediction, parts, values), "blocks": len(np.unique(parts))}


def gains(
    task: Task, target: Values, ours: Values | Said, theirs: Values | Said, parts: Blocks, names: Sequence[str]
) -> dict[str, Gain]:
    """By how much *ours* is better than *theirs* in each of the metrics *names*; undefined ones are left out."""
    mine, other = (without_each(task, target, one, parts, names) for one in (ours, theirs))
    found = {}
    for name in (one for one in mine if one in other):  # in their order: a set's is another in each process
        metric = metrics.METRICS[name]
        loss = np.vectorize(metric.loss, otypes=[float])
        value = metric.loss(metric.of(target, theirs)) - metric.loss(metric.of(target, ours))
        error = spread(loss(other[name]) - loss(mine[name]))
        if math.isfinite(value) and math.isfinite(error):
            found[name] = Gain(value=value, error=error, blocks=len(mine[name]))
    return found

"""What can be said of a row without a model: the mean or the classes' shares, and the value before.

A model that is hardly better than these has learned nothing that is worth a server.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from components.data.dealing import key_cells
from components.data.moments import event_of
from components.judging import metrics
from components.judging.jackknife import Blocks, Gain, gains
from components.judging.metrics import Values
from components.judging.said import Said
from serving.bundle.judgement import Judgement, Learned
from serving.contract import Contract, Frozen

BASELINE, PREVIOUS = "baseline", "previous"


class Rival(Frozen):
    """What answers without a model, on rows that the candidate was judged on too.

    Attributes:
        words: what it says, as in "always saying the mean".
        rows: of how many rows; the value before the first is not known.
        gains: of the candidate over it, by metric.
    """

    words: str
    rows: int
    metrics: dict[str, float]
    gains: dict[str, Gain]


def rivals(
    rows: pl.DataFrame, contract: Contract, learned: Learned | None, prediction: Said, target: Values, parts: Blocks
) -> dict[str, Rival]:
    """The candidate's *prediction* of *rows* beside what is said without a model, as far as there is such a thing."""
    found = {}
    for name, words, values, known in _said(rows, contract, learned, target):
        if known.sum() >= 2:
            truth, ours = target[known], prediction[known]
            said = Said.of(values[known], Judgement(costs=prediction.costs))
            figures = metrics.compute(contract.task, truth, said)
            better = gains(contract.task, truth, ours, said, parts[known], tuple(figures))
            defined = {key: value for key, value in figures.items() if np.isfinite(value)}
            found[name] = Rival(words=words, rows=int(known.sum()), metrics=defined, gains=better)
    return found


def _said(
    rows: pl.DataFrame, contract: Contract, learned: Learned | None, target: Values
) -> Iterator[tuple[str, str, Values, Values]]:
    """Name and words of each baseline, what it predicts, and for which rows."""
    n = len(target)
    if learned is not None:
        one = np.array(learned.constant)
        said = np.tile(one, (n, 1)) if contract.target.classes else np.full(n, one[0])
        kind = "the classes' shares" if contract.target.classes else "the mean"
        yield BASELINE, f"always saying {kind} of the training rows", said, np.ones(n, dtype=bool)
    if contract.event_time in rows.columns and contract.task == "regression":
        before = previous(rows, contract, target)
        yield PREVIOUS, f"saying the value before by {contract.event_time}", before, np.isfinite(before)


def previous(rows: pl.DataFrame, contract: Contract, target: Values) -> Values:
    """The *target* of the row before each by event time, (n_rows,), NaN where there is none.

    Where keys recur it is the value before of the same key. Rows of one moment have the same row before, since none of
    them is known before the others.
    """
    when = event_of(rows, contract)
    repeated = contract.key in rows.columns and rows[str(contract.key)].n_unique() < rows.height
    key = key_cells(rows, str(contract.key)) if repeated else pl.repeat("", rows.height, eager=True)
    table = pl.DataFrame({"key": key, "when": when, "target": target}).with_row_index()
    moment = table.sort("when", "index").group_by("key", "when", maintain_order=True).agg(pl.col("target").last())
    moment = moment.with_columns(before=pl.col("target").shift(1).over("key"))
    found = table.join(moment.select("key", "when", "before"), on=["key", "when"], how="left", maintain_order="left")
    return np.asarray(found["before"].cast(pl.Float64).fill_null(np.nan).to_numpy(), dtype=np.float64)

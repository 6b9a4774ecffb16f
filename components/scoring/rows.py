"""From a chunk of a table to scores: coded as the model server codes a request, by expressions instead of row by row.

A batch answers what the endpoint would answer. So a column's ``out_of_range`` and ``unknown`` hold here as they do for
requests, unlike in training data: a value may be clipped, or used and counted as flagged. Every other row that breaks
the contract, that the model cannot take, or whose prediction is not finite gets no number.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.rules import Rule, forms, input_rules, told
from components.data.tables import code
from serving.contract import Column, Contract, Matrix
from serving.errors import DataError
from serving.scoring.api import Predictions

Counts = Counter[tuple[str, str]]  # rows by (column, reason); one row may count for several columns

EXTREME = "the prediction is not a finite number; its values are too extreme to score"

_BAD = "bad:any"


@dataclass(frozen=True)
class Scores:
    """What became of a chunk of n rows.

    Attributes:
        values: (n,) or (n, n_classes) as the scorer gives them, NaN in refused rows.
        refused: positions of the rows without a prediction, ascending; ``reasons`` has a text for each.
        reasons_by: refused rows by column and reason; ``flagged_by`` rows that were scored all the same.
    """

    values: Predictions
    refused: npt.NDArray[np.intp]
    reasons: tuple[str, ...]
    reasons_by: Counts
    flagged_by: Counts


class RowScorer:
    """Scores chunks of tables of one polars *schema*; holds no state between calls, so that threads may share it.

    Raises:
        DataError: a column is of a type that cannot hold what the contract asks for.
    """

    def __init__(self, schema: Any, contract: Contract, score: Callable[[Matrix], Predictions]) -> None:
        self._score = score
        self._width = (len(contract.target.classes),) if contract.target.classes else ()
        self._forms = forms(schema, contract.columns)
        asked = input_rules(schema, contract)
        self._rules = [rule for rule in asked if not _tolerated(rule, contract.columns)]
        self._lenient = [rule for rule in asked if _tolerated(rule, contract.columns)]
        self._codes = [_code(name, column).alias(name) for name, column in contract.columns.items()]
        self._flags = {(rule.column, rule.reason): _flag(rule, contract.columns[rule.column]) for rule in self._lenient}

    def score(self, chunk: pl.DataFrame) -> Scores:
        """Scores of the contract's columns in *chunk*."""
        forms = chunk.select(self._forms)
        bad = pl.any_horizontal(pl.lit(False), *(rule.bad for rule in self._rules)).alias(_BAD)
        coded = forms.select(*self._codes, bad)
        mask = coded[_BAD].to_numpy()
        matrix = coded.drop(_BAD).to_numpy(order="c")
        if not mask.any():
            values, faults = _scored(self._score, matrix, self._width)
            return _joined(values, {}, faults, Counter(), self._flagged(forms))
        texts, counts = self._explained(forms.filter(coded[_BAD]))
        broken, kept = np.flatnonzero(mask), np.flatnonzero(~mask)
        values, faults = _scored(self._score, matrix[kept], self._width)
        faults = {int(kept[row]): text for row, text in faults.items()}
        flagged = self._flagged(forms.filter(~coded[_BAD]) if self._lenient else forms.clear())
        return _joined(
            _spread(values, kept, len(mask)), dict(zip(broken.tolist(), texts, strict=True)), faults, counts, flagged
        )

    def _explained(self, fallen: pl.DataFrame) -> tuple[list[str], Counts]:
        """A text for each row of *fallen*, and how many of them break which rule."""
        broken = (rule.bad.alias(str(i)) for i, rule in enumerate(self._rules))
        seen = fallen.select(told(self._rules).alias("text"), *broken)
        counts: Counts = Counter()
        for i, rule in enumerate(self._rules):
            counts[rule.column, rule.reason] += int(seen[str(i)].sum())
        return seen["text"].to_list(), +counts

    def _flagged(self, forms: pl.DataFrame) -> Counts:
        counts: Counts = Counter()
        if self._lenient and forms.height:
            sums = forms.select(rule.bad.sum().alias(str(i)) for i, rule in enumerate(self._lenient))
            for i, rule in enumerate(self._lenient):
                counts[rule.column, self._flags[rule.column, rule.reason]] += int(sums.item(0, str(i)))
        return +counts


def _tolerated(rule: Rule, columns: Mapping[str, Column]) -> bool:
    """Whether a request that fails *rule* would be answered all the same."""
    column = columns[rule.column]
    return (rule.reason == "out of range" and column.out_of_range != "refuse") or (
        rule.reason == "unknown category" and column.unknown == "flag"
    )


def _flag(rule: Rule, column: Column) -> str:
    return "clipped" if rule.reason == "out of range" and column.out_of_range == "clip" else rule.reason


def _code(name: str, column: Column) -> pl.Expr:
    """A cell of the coded matrix from a column's typed form; null where there is no value."""
    value = pl.col(name)
    if column.numeric and column.range is not None and column.out_of_range == "clip":
        value = value.clip(*column.range)
    return code(value, column)


def _scored(
    score: Callable[[Matrix], Predictions], matrix: Matrix, width: tuple[int, ...]
) -> tuple[Predictions, dict[int, str]]:
    """Scores of *matrix*, and by row why it has none: halves are asked anew until the rows at fault stand alone."""
    if not len(matrix):
        return np.empty((0, *width)), {}
    try:
        values = score(matrix)
    except DataError as error:
        if len(matrix) == 1:
            return np.full((1, *width), np.nan), {0: str(error).removeprefix("row 0: ")}
        middle = len(matrix) // 2
        left, left_faults = _scored(score, matrix[:middle], width)
        right, right_faults = _scored(score, matrix[middle:], width)
        faults = left_faults | {middle + row: text for row, text in right_faults.items()}
        return np.concatenate([left, right]), faults
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return values, dict.fromkeys(np.flatnonzero(~finite).tolist(), EXTREME)


def _spread(values: Predictions, kept: npt.NDArray[np.intp], rows: int) -> Predictions:
    wide = np.full((rows, *values.shape[1:]), np.nan)
    wide[kept] = values
    return wide


def _joined(
    values: Predictions, broken: dict[int, str], faults: dict[int, str], counts: Counts, flagged: Counts
) -> Scores:
    refused = dict(sorted((broken | faults).items()))
    places = np.array(list(refused), dtype=np.intp)
    if len(places):
        values = values.copy()
        values[places] = np.nan
    if faults:
        counts = counts + Counter({("", "no prediction"): len(faults)})
    return Scores(values, places, tuple(refused.values()), counts, flagged)

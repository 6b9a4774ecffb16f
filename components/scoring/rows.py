"""From a chunk of a table to scores: coded as the model server codes a request, by expressions instead of row by row.

A batch answers what the endpoint would answer. So a column's ``out_of_range`` and ``unknown`` hold here as they do for
requests, unlike in training data: a value may be clipped, or used and counted as flagged. Every other row that breaks
the contract, that the model cannot take, or whose prediction is not finite gets no number.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.rules import Rule, forms, input_rules, suspected, told
from components.data.tables import codes
from serving.contract import Column, Contract, Matrix
from serving.errors import DataError
from serving.scoring.api import Predictions

Positions = npt.NDArray[np.intp]
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
    refused: Positions
    reasons: tuple[str, ...]
    reasons_by: Counts
    flagged_by: Counts


class RowScorer:
    """Scores chunks of tables of one polars *schema*; holds no state between calls, so that threads may share it.

    Raises:
        DataError: a column is of a type that cannot hold what the contract asks for.
    """

    def __init__(
        self, schema: Any, contract: Contract, score: Callable[[Matrix], Predictions], width: int | None = None
    ) -> None:
        """*width* is of the scores of a row, by default as many as the contract has classes, and no list for none."""
        self._score = score
        width = width or len(contract.target.classes)
        self._width = (width,) if width else ()
        self._forms = forms(schema, contract.inputs)
        asked = [(rule, _flag(rule, contract.columns[rule.column])) for rule in input_rules(schema, contract)]
        self._rules = [rule for rule, flag in asked if not flag]
        self._lenient = [rule for rule, flag in asked if flag]
        self._flags = [flag for _, flag in asked if flag]
        self._codes = codes(contract, lambda name: _used(name, contract.inputs[name]))

    def score(self, chunk: pl.DataFrame) -> Scores:
        """Scores of the contract's columns in *chunk*."""
        forms = chunk.select(self._forms)
        rules = suspected(forms, self._rules)
        bad = pl.any_horizontal(pl.lit(False), *(rule.bad for rule in rules)).alias(_BAD)
        coded = forms.select(*self._codes, bad)
        fallen = coded[_BAD]
        matrix, broken = coded.drop(_BAD).to_numpy(order="c"), fallen.arg_true().to_numpy()
        kept = np.flatnonzero(~fallen.to_numpy())
        values, faults = _scored(self._score, matrix[kept] if len(broken) else matrix, self._width)
        refused = {int(kept[row]): text for row, text in faults.items()}
        counts = Counter({("", "no prediction"): len(faults)} if faults else {})
        if len(broken):
            bad_forms, forms = forms.filter(fallen), forms.filter(~fallen) if self._lenient else forms
            refused |= zip(broken.tolist(), bad_forms.select(told(rules)).to_series(), strict=True)
            counts += _counts(bad_forms, rules, [rule.reason for rule in rules])
        flagged = _counts(forms, self._lenient, self._flags)
        return _joined(values, kept, matrix.shape[0], refused, counts, flagged)


def _counts(forms: pl.DataFrame, rules: Sequence[Rule], names: Sequence[str]) -> Counts:
    """How many rows of *forms* break which of *rules*, under the rule's column and its name in *names*."""
    sums = forms.select(rule.bad.sum().alias(str(i)) for i, rule in enumerate(rules)).row(0) if rules else ()
    counts: Counts = Counter()
    for rule, name, rows in zip(rules, names, sums, strict=True):
        counts[rule.column, name] += int(rows or 0)
    return +counts


def _flag(rule: Rule, column: Column) -> str:
    """What a request that fails *rule* is answered with all the same; empty where it is refused."""
    if rule.reason == "out of range" and column.out_of_range != "refuse":
        return "clipped" if column.out_of_range == "clip" else rule.reason
    return rule.reason if rule.reason == "unknown category" and column.unknown == "flag" else ""


def _used(name: str, column: Column) -> pl.Expr:
    """What is used of a column's typed form: the nearest bound where it is clipped."""
    value = pl.col(name)
    clipped = column.numeric and column.range is not None and column.out_of_range == "clip"
    return value.clip(*(column.range or ())) if clipped else value


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


def _joined(
    values: Predictions, kept: Positions, rows: int, refused: dict[int, str], counts: Counts, flagged: Counts
) -> Scores:
    """What became of *rows* rows, given the *values* of those that were *kept*."""
    places = np.array(sorted(refused), dtype=np.intp)
    if len(places):
        wide = np.full((rows, *values.shape[1:]), np.nan)
        wide[kept] = values
        wide[places] = np.nan
        values = wide
    return Scores(values, places, tuple(refused[place] for place in places.tolist()), counts, flagged)

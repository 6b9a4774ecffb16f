"""What a model was judged by and what it says besides its predictions, kept in its bundle and signed with it.

Intervals, calibration and threshold were fitted on training rows, each predicted by a model that had not seen it
(``components.modelling.crossing``); the held-out rows only judge them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from serving.frozen import Frozen

if TYPE_CHECKING:
    from serving.contract import Matrix
    from serving.scoring.api import Form

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Table = tuple[tuple[float, ...], ...]
SMALLEST = 1e-15  # of a probability whose odds are asked for
TIE = 1e-12  # of a cost, by which sums that should be equal may differ


class Learned(Frozen):
    """What the training rows say without any model.

    Attributes:
        rows: how many there were.
        constant: the mean of the target; or the share of each class, in the contract's order.
        sketch: the smallest hashes of the rows with their targets, ascending (bottom-k: Cohen and Kaplan 2007), by
            which it is told of other rows how many of them are among these.
    """

    rows: int
    constant: tuple[float, ...]
    sketch: tuple[int, ...] = ()


class Widths(Frozen):
    """By how much truths lie off predictions: split-conformal intervals (Lei and others 2018) in bins of prediction.

    Attributes:
        level: in percent, that of the project: of batches and of coverage.
        levels: in percent, those that there were rows enough for, ascending.
        cuts: between the bins, ascending, one less than there are bins.
        low: for each bin what is added to a prediction for the lower end, for each of ``levels``; high: the upper.
    """

    level: int
    levels: tuple[int, ...]
    cuts: tuple[float, ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]

    def bounds(self, prediction: Values, level: int | None = None) -> Values:
        """Lower and upper ends, (n_rows, 2) in the target's unit, of predictions (n_rows,).

        Raises:
            ValueError: there are no intervals of that *level* in percent.
        """
        place = self.levels.index(self.level if level is None else level)
        low, high, cuts = self._arrays
        bins = np.searchsorted(cuts, prediction, side="right")
        return np.column_stack([prediction + low[bins, place], prediction + high[bins, place]])

    @cached_property
    def _arrays(self) -> tuple[Values, Values, Values]:
        return np.array(self.low), np.array(self.high), np.array(self.cuts)


class Calibration(Frozen):
    """From the probability that a model states to how often it was so, for each class against the rest.

    Attributes:
        kind: ``isotonic`` is a broken line through ``stated`` and ``observed``; ``sigmoid`` a line in the odds with
            ``slope`` and ``offset`` (Platt 1999). Of two classes the second is calibrated, of more all are, and they
            are made to sum to 1 (Zadrozny and Elkan 2002).
    """

    kind: Literal["isotonic", "sigmoid"]
    stated: tuple[tuple[float, ...], ...] = ()
    observed: tuple[tuple[float, ...], ...] = ()
    slope: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()

    def calibrated(self, probabilities: Values) -> Values:
        """*probabilities*, (n_rows, n_classes), as they were observed."""
        if probabilities.shape[1] == 2:
            second = self._one(0, probabilities[:, 1])
            return np.column_stack([1 - second, second])
        each = np.column_stack([self._one(code, column) for code, column in enumerate(probabilities.T)])
        total = each.sum(axis=1, keepdims=True)
        return np.where(total > 0, each / np.where(total > 0, total, 1), 1 / each.shape[1])

    def _one(self, place: int, stated: Values) -> Values:
        if self.kind == "isotonic":
            return np.asarray(np.interp(stated, self.stated[place], self.observed[place]))
        return np.asarray(1 / (1 + np.exp(-(self.slope[place] * log_odds(stated) + self.offset[place]))))


def log_odds(stated: Values) -> Values:
    """The logarithm of the odds of probabilities, finite also of 0 and 1."""
    kept = np.clip(stated, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept / (1 - kept)))


def cheapest(probabilities: Values, costs: Table) -> Codes:
    """The class of least expected cost, (n_rows,) positions, of probabilities (n_rows, n_classes); of equal ones the
    first.

    Sums are added class by class, so that a row alone and among others has the same answer to the last bit.

    Args:
        costs: what each true class (outer) costs that is answered as another (inner).
    """
    expected = np.zeros_like(probabilities)
    for truth, row in enumerate(costs):
        expected += probabilities[:, truth, None] * np.array(row)
    least = expected.min(axis=1, keepdims=True)
    return np.asarray(np.argmax(expected <= least * (1 + TIE), axis=1))


def likeliest(probabilities: Values, most: int) -> Codes:
    """The *most* probable classes of each row, (n_rows, most) positions, of equal ones the first of the contract."""
    return np.ascontiguousarray(np.argsort(-probabilities, axis=1, kind="stable")[:, :most])


def top_mistake(most: int, classes: int) -> str:
    """Why the *most* probable of so many *classes* cannot be said; empty where they can."""
    if classes < 3:
        return "is for a target of three or more classes; of two each answer has both probabilities"
    return "" if 1 <= most <= classes else f"expected 1 to {classes}, as many as there are classes, got {most}"


class Taught(Frozen):
    """What training rows told of a model, and by what it answers with a class.

    Attributes:
        threshold: the probability of the second of two classes from which on it is the answer; None: the likelier.
        costs: of each true class (outer) that is answered as another (inner), in the contract's order; without a
            threshold the class of least expected cost is the answer. Empty: nobody said what an error costs.
        crossed: metrics of training rows that were predicted by models that had not seen them, each with its standard
            error; ``folds`` says how many models that were.
        repeated: means of the metrics of each fold of ``repeats`` deals of the training rows to folds, each with its
            standard error; empty where they were dealt once.
    """

    threshold: float | None = None
    costs: Table = ()
    crossed: dict[str, tuple[float, float]] = {}  # noqa: RUF012 - pydantic copies it
    folds: int = 0
    repeated: dict[str, tuple[float, float]] = {}  # noqa: RUF012 - as above
    repeats: int = 1


class Judgement(Taught):
    """All of it; what a bundle does not know stays open."""

    learned: Learned | None = None
    widths: Widths | None = None
    calibration: Calibration | None = None

    def calibrated(self, values: Values) -> Values:
        """A model's *values* as answers state them: probabilities calibrated, numbers as they are."""
        return values if self.calibration is None else self.calibration.calibrated(values)

    def decided(self, probabilities: Values) -> Codes:
        """The class that is answered, (n_rows,) positions, of probabilities (n_rows, n_classes)."""
        if self.threshold is not None and probabilities.shape[1] == 2:
            return (probabilities[:, 1] >= self.threshold).astype(np.intp)
        return cheapest(probabilities, self.costs) if self.costs else np.asarray(np.argmax(probabilities, axis=1))

    def of_interest(self, scores: Values, classes: int) -> Codes:
        """The class of each row that is explained: of two the last, of more the answer; zeros where there are none."""
        if classes > 2:
            return self.decided(scores)
        return np.full(len(scores), max(classes - 1, 0), np.intp)

    def among(self, places: Sequence[int]) -> "Judgement":
        """What is left of it where only the classes at *places* are told apart, in that order: what errors cost."""
        kept = [self.costs[truth] for truth in places] if self.costs else []
        return Judgement(costs=tuple(tuple(row[answer] for answer in places) for row in kept))

    def scorer(self, inner: "Scorer") -> Any:
        """*inner* with calibrated probabilities, where there is a calibration."""
        return inner if self.calibration is None else CalibratedScorer(inner, self.calibration)


class Scorer(Protocol):
    """What gives predictions of a coded matrix."""

    @property
    def form(self) -> "Form": ...
    @property
    def reason(self) -> str: ...
    def score(self, matrix: "Matrix") -> Values: ...


@dataclass(frozen=True)
class CalibratedScorer:
    """Another scorer's probabilities, calibrated: the same operations whichever form gives them."""

    inner: Scorer
    calibration: Calibration

    @property
    def form(self) -> "Form":
        return self.inner.form

    @property
    def reason(self) -> str:
        return f"{self.inner.reason}; its probabilities are calibrated ({self.calibration.kind})"

    def score(self, matrix: "Matrix") -> Values:
        """See ``scoring.api.SklearnScorer``."""
        return self.calibration.calibrated(self.inner.score(matrix))

    def tolerance(self, matrix: "Matrix") -> Values:
        """See ``CompiledScorer``; of what is not calibrated yet."""
        inner: Any = self.inner
        return np.asarray(inner.tolerance(matrix))


def percent(level: float) -> int | None:
    """A share such as 0.9 as whole percent; None where it is none between 50 and 99."""
    whole = round(100 * level)
    return whole if math.isclose(100 * level, whole, abs_tol=1e-9) and 50 <= whole <= 99 else None

"""What a model says besides its predictions, as a project asks for it, and how it is fitted."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from components.judging import jackknife, metrics
from components.judging.metrics import Values
from components.judging.said import Said
from components.judging.suspicion import learned
from components.modelling.crossing import Crossed, Rows, crossed
from serving.bundle.judgement import Calibration, Judgement, Widths, log_odds, percent
from serving.contract import Contract, Frozen, Matrix
from serving.errors import ConfigError, DataError

FOLDS = 8  # of fewer the errors are those of a worse model
BIN_ROWS, MOST_BINS = 400, 10  # a bin of fewer rows says its ends too roughly
Share = Annotated[float, Field(gt=0, lt=1)]
Calibrated = Literal["isotonic", "sigmoid", "none"]
Cost = Annotated[float, Field(gt=0, lt=1e9)]


class Costs(Frozen):
    """What a wrong answer costs, in any unit.

    Attributes:
        miss: of a row of the second class that is told as the first.
        false_alarm: of a row of the first class that is told as the second.
    """

    miss: Cost
    false_alarm: Cost


class Threshold(Frozen):
    """From which probability on the second of two classes is the answer; exactly one of these.

    Attributes:
        metric: the one that is highest for it, on training rows that the model had not seen.
        precision: the least share of right ones among those answered so; of these thresholds the one of most recall.
        cost: the threshold of least cost.
        at: the threshold itself.
    """

    metric: Literal["f1", "accuracy", "balanced_accuracy"] | None = None
    precision: Share | None = None
    cost: Costs | None = None
    at: Share | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [key for key in ("metric", "precision", "cost", "at") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of metric, precision, cost, at; seen {', '.join(given) or 'none'}")
        return self


class Says(Frozen):
    """All that is asked for besides predictions.

    Attributes:
        interval: share of truths that lie within the intervals, in whole percent; None: no intervals.
        probabilities: how they are calibrated.
        folds: how many models of parts of the training rows are fitted for it; 0: as few as the rest needs.
    """

    interval: float | None = None
    probabilities: Calibrated = "none"
    threshold: Threshold | None = None
    folds: int = 0

    @property
    def models(self) -> int:
        """How many models of parts are needed; 0 where nothing is asked for."""
        fixed = self.threshold is None or self.threshold.at is not None
        wanted = self.interval is not None or self.probabilities != "none" or not fixed
        return self.folds or (FOLDS if wanted else 0)

    def check(self, contract: Contract) -> None:
        """Refuse what a model of that *contract* cannot say."""
        classes = len(contract.target.classes)
        if self.interval is not None and percent(self.interval) is None:
            raise ConfigError(f"interval: expected a share in whole percent from 0.5 to 0.99, seen {self.interval:g}")
        if self.interval is not None and classes:
            raise ConfigError("interval: is for a target of numbers; classes have probabilities")
        if self.probabilities != "none" and not classes:
            raise ConfigError(f"probabilities: {self.probabilities} is for a target of classes; numbers have intervals")
        if self.threshold is not None and classes != 2:
            raise ConfigError(f"threshold: is for a target of two classes, seen {classes or 'numbers'}")

    def judgement(self, found: Crossed, contract: Contract) -> Judgement:
        """What the bundle keeps, given predictions of training rows by models that had not seen them."""
        made = Judgement(folds=self.models)
        level = None if self.interval is None else percent(self.interval)
        if level is not None:
            made = made.model_copy(update={"widths": widths(found.predicted, found.target, level)})
        values = found.predicted
        if self.probabilities != "none":
            kept = calibration(self.probabilities, values, found.target)
            made, values = made.model_copy(update={"calibration": kept}), kept.calibrated(values)
        if self.threshold is not None:
            made = made.model_copy(update={"threshold": threshold(self.threshold, values[:, 1], found.target)})
        return made.model_copy(update={"crossed": _figures(found, Said.of(values, made), contract)})

    @property
    def fixed(self) -> Judgement:
        """What the bundle keeps where no models of parts are needed."""
        return Judgement(threshold=self.threshold.at if self.threshold else None)


class Estimate(Frozen):
    """How quality is estimated besides the holdout.

    Attributes:
        folds: models of parts of the training rows that predict the other parts: whole groups and keys, or rows; by
            time each the next stretch (rolling origin). 0: none.
    """

    folds: Annotated[int, Field(ge=0, le=20)] = 0


class Besides(Frozen):
    """The keys of a project that say what is said besides predictions.

    Attributes:
        evaluation: how quality is estimated besides the held-out rows.
        interval: share of truths that intervals cover, 0.5..0.99 in whole percent; in batches as ``lower`` and
            ``upper``, in answers on request.
        probabilities: how stated ones are made what is observed.
        threshold: from which probability on the second of two classes is the answer; by default from a half.
    """

    evaluation: Estimate = Estimate()
    interval: Annotated[float, Field(ge=0.5, le=0.99)] | None = None
    probabilities: Calibrated = "none"
    threshold: Threshold | None = None

    @property
    def says(self) -> Says:
        """The same as one value."""
        given = {"interval": self.interval, "probabilities": self.probabilities, "threshold": self.threshold}
        return Says(**given, folds=self.evaluation.folds)

    def check_says(self, contract: Contract, figures: Sequence[str]) -> None:
        """Refuse what a model of the *contract* cannot say, and coverage among the *figures* without intervals."""
        self.says.check(contract)
        if "coverage" in figures and self.interval is None:
            raise ConfigError("interval: missing, and a gate or an alarm is on coverage; write interval: 0.9")


def said_besides(
    asked: Says,
    training: tuple[pl.DataFrame, Contract, str, Matrix, Values],
    fit: Callable[[Rows], Callable[[Matrix], Values]],
) -> Judgement:
    """What the bundle keeps of a model of *training*: its rows, contract and rule, coded rows and truths.

    Args:
        fit: as for ``crossed``.
    """
    _, contract, _, matrix, target = training
    made = asked.judgement(crossed(*training, asked.models, fit), contract) if asked.models else asked.fixed
    return made.model_copy(update={"learned": learned(matrix, target, contract)})


def _figures(found: Crossed, said: Said, contract: Contract) -> dict[str, tuple[float, float]]:
    known = metrics.compute(contract.task, found.target, said)
    values = {name: value for name, value in known.items() if np.isfinite(value)}
    errors = jackknife.errors(contract.task, found.target, said, found.parts, values)
    return {name: (value, errors[name]) for name, value in values.items() if name in errors}


def widths(predicted: Values, target: Values, level: int) -> Widths:
    """Intervals by bins of prediction: in each the order statistics of its errors that hold at least so many truths.

    The two ends are taken apart, so that errors may lean to a side; (n + 1) as of Lei and others 2018.

    Raises:
        DataError: too few rows for *level*, in percent.
    """
    n = len(target)
    cuts = np.unique(np.quantile(predicted, np.linspace(0, 1, min(max(n // BIN_ROWS, 1), MOST_BINS) + 1)[1:-1]))
    bins = np.searchsorted(cuts, predicted, side="right")
    errors = [np.sort((target - predicted)[bins == one]) for one in range(len(cuts) + 1)]
    if not all(map(len, errors)):  # equal predictions leave a bin empty
        return widths_of([np.sort(target - predicted)], np.empty(0), level)
    return widths_of(errors, cuts, level)


def widths_of(errors: list[Values], cuts: Values, level: int) -> Widths:
    """``Widths`` of the sorted *errors* in each bin."""
    fewest = min(map(len, errors))
    levels = tuple(one for one in range(50, 100) if (fewest + 1) * (100 - one) / 200 >= 1)
    if level not in levels:
        need = int(np.ceil(200 / (100 - level))) - 1
        raise DataError(
            f"interval: 0.{level} needs at least {need:,} training rows that are predicted, seen {fewest:,}"
        )
    ends = [[_ends(one, share) for share in levels] for one in errors]
    low, high = (tuple(tuple(pair[side] for pair in row) for row in ends) for side in (0, 1))
    return Widths(level=level, levels=levels, cuts=tuple(cuts.tolist()), low=low, high=high)


def _ends(errors: Values, level: int) -> tuple[float, float]:
    out = (100 - level) / 200
    first = int(np.floor((len(errors) + 1) * out + 1e-9))
    return float(errors[first - 1]), float(errors[len(errors) - first])


def calibration(kind: Literal["isotonic", "sigmoid"], stated: Values, target: Values) -> Calibration:
    """From stated probabilities to observed ones, for the second of two classes, or each of more."""
    codes = range(1, 2) if stated.shape[1] == 2 else range(stated.shape[1])
    sides = [(stated[:, code], 1.0 * (target == code)) for code in codes]
    if kind == "isotonic":
        lines = [IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(*side) for side in sides]
        return Calibration(
            kind=kind,
            stated=tuple(tuple(one.X_thresholds_.tolist()) for one in lines),
            observed=tuple(tuple(one.y_thresholds_.tolist()) for one in lines),
        )
    found = [LogisticRegression(C=np.inf).fit(log_odds(one).reshape(-1, 1), true) for one, true in sides]
    slope, offset = (tuple(float(getattr(one, key).ravel()[0]) for one in found) for key in ("coef_", "intercept_"))
    return Calibration(kind=kind, slope=slope, offset=offset)


def threshold(asked: Threshold, stated: Values, target: Values) -> float:
    """The threshold that is best as *asked*, of all that tell some of the probabilities *stated* from others.

    It lies halfway between two of them, so that no rounding moves a row across it.

    Raises:
        DataError: none has the precision that is asked for.
    """
    if asked.at is not None:
        return asked.at
    order = np.argsort(-stated, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(stated[order])), len(stated) - 1)
    hits = np.cumsum(target[order] == 1)[ends].astype(np.float64)
    alarms, positive = ends + 1 - hits, float((target == 1).sum())
    value = _value(asked, hits, alarms, positive, len(target) - positive)
    if not np.isfinite(value).any():
        raise DataError(f"threshold.precision: no threshold reaches {asked.precision:g} on the training rows; ask less")
    place = int(np.nanargmax(np.where(np.isfinite(value), value, -np.inf)))
    here = stated[order][ends[place]]
    below = stated[order][ends[place + 1]] if place + 1 < len(ends) else 0.0
    return float((here + below) / 2)


def _value(asked: Threshold, hits: Values, alarms: Values, positive: float, negative: float) -> Values:
    """What is to be highest, for each number of *hits* and false *alarms*."""
    if asked.precision is not None:
        return np.where(hits / (hits + alarms) >= asked.precision, hits, -np.inf)
    if asked.cost is not None:
        return -(asked.cost.miss * (positive - hits) + asked.cost.false_alarm * alarms)
    if asked.metric == "f1":
        return np.asarray(2 * hits / (hits + alarms + positive))
    if asked.metric == "accuracy":
        return np.asarray(hits - alarms)
    return np.asarray(hits / positive - alarms / negative)

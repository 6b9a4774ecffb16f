"""What a model says besides its predictions, as a project asks for it, and how it is fitted."""

from collections.abc import Callable, Sequence
from functools import partial
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
from components.modelling.crossing import Crossed, Rows, crossed, over_deals
from components.modelling.deciding import Confusions, Threshold, check_costs, cost_table, threshold
from serving.bundle.judgement import Calibration, Judgement, Widths, log_odds, percent
from serving.contract import Contract, Frozen, Matrix
from serving.errors import ConfigError, DataError

FOLDS = 8  # of fewer the errors are those of a worse model
BIN_ROWS, MOST_BINS = 400, 10  # a bin of fewer rows says its ends too roughly
Calibrated = Literal["isotonic", "sigmoid", "none"]


class Says(Frozen):
    """All that is asked for besides predictions.

    Attributes:
        interval: share of truths that lie within the intervals, in whole percent; None: no intervals.
        probabilities: how they are calibrated.
        threshold, costs: which class is answered.
        folds: how many models of parts of the training rows are fitted for it; 0: as few as the rest needs.
        repeats: how many times the rows are dealt to folds.
    """

    interval: float | None = None
    probabilities: Calibrated = "none"
    threshold: Threshold | None = None
    costs: Confusions = Field(default_factory=dict)
    folds: int = 0
    repeats: int = 1

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
        check_costs(self.costs, self.threshold, contract)

    def judgement(self, found: Crossed, contract: Contract, again: Sequence[Crossed] = ()) -> Judgement:
        """What the bundle keeps, given predictions of training rows by models that had not seen them.

        Intervals, calibration and threshold are learned from *found* alone, the first deal; with the deals *again* it
        is only told how good the model is.
        """
        made = Judgement(
            folds=self.models, repeats=1 + len(again), costs=cost_table(self.costs, self.threshold, contract)
        )
        level = None if self.interval is None else percent(self.interval)
        if level is not None:
            made = made.model_copy(update={"widths": widths(found.predicted, found.target, level)})
        values = found.predicted
        if self.probabilities != "none":
            kept = calibration(self.probabilities, values, found.target)
            made, values = made.model_copy(update={"calibration": kept}), kept.calibrated(values)
        if self.threshold is not None:
            made = made.model_copy(update={"threshold": threshold(self.threshold, values[:, 1], found.target)})
        facts = {"crossed": _figures(found, Said.of(values, made), contract)}
        if again:
            said = partial(_said, made)
            facts["repeated"] = over_deals([found, *again], self.models, said, contract)
        return made.model_copy(update=facts)

    def fixed(self, contract: Contract) -> Judgement:
        """What the bundle keeps where no models of parts are needed."""
        costs = cost_table(self.costs, self.threshold, contract)
        return Judgement(threshold=self.threshold.at if self.threshold else None, costs=costs)


class Estimate(Frozen):
    """How quality is estimated besides the holdout.

    Attributes:
        folds: models of parts of the training rows that predict the other parts: whole groups and keys, or rows; by
            time each the next stretch (rolling origin). 0: none.
        repeats: how many times the training rows are dealt to the folds, each time in another way, so that figures
            depend less on one deal; not by time, which has one order.
    """

    folds: Annotated[int, Field(ge=0, le=20)] = 0
    repeats: Annotated[int, Field(ge=1, le=20)] = 1

    @model_validator(mode="after")
    def _dealt(self) -> Self:
        if self.repeats > 1 and self.folds < 2:
            raise ValueError(f"repeats: needs folds of 2 or more, which are dealt again; seen folds {self.folds}")
        return self


class Besides(Frozen):
    """The keys of a project that say what is said besides predictions.

    Attributes:
        evaluation: how quality is estimated besides the held-out rows.
        interval: share of truths that intervals cover, 0.5..0.99 in whole percent; in batches as ``lower`` and
            ``upper``, in answers on request.
        probabilities: how stated ones are made what is observed.
        threshold: from which probability on the second of two classes is the answer; by default from a half.
        costs: what it costs that a row of one class is answered as another, true class first; what is not named costs
            1, and the class of least expected cost is the answer.
    """

    evaluation: Estimate = Estimate()
    interval: Annotated[float, Field(ge=0.5, le=0.99)] | None = None
    probabilities: Calibrated = "none"
    threshold: Threshold | None = None
    costs: Confusions = Field(default_factory=dict)

    @property
    def says(self) -> Says:
        """The same as one value."""
        given = {name: getattr(self, name) for name in ("interval", "probabilities", "threshold", "costs")}
        return Says(**given, **dict(self.evaluation))

    def check_says(self, contract: Contract, figures: Sequence[str], by: str = "random") -> None:
        """Refuse what a model of the *contract*, split *by* that, cannot say, and *figures* of what it does not say."""
        self.says.check(contract)
        if by == "time" and self.evaluation.repeats > 1:
            raise ConfigError("evaluation.repeats: rows that are split by time have one order and are dealt once")
        if "coverage" in figures and self.interval is None:
            raise ConfigError("interval: missing, and a gate or an alarm is on coverage; write interval: 0.9")
        if "cost" in figures and not cost_table(self.costs, self.threshold, contract):
            raise ConfigError("costs: missing, and a gate or an alarm is on cost; write what each confusion costs")


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
    deals = [crossed(*training, asked.models, fit, deal) for deal in range(asked.repeats if asked.models else 0)]
    made = asked.judgement(deals[0], contract, deals[1:]) if deals else asked.fixed(contract)
    return made.model_copy(update={"learned": learned(matrix, target, contract)})


def _said(made: Judgement, predicted: Values) -> Said:
    return Said.of(made.calibrated(predicted), made)


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

"""Which class is answered: from a probability on, or what is expected to cost least, as a project asks for it."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from components.judging.metrics import Values
from serving.bundle.judgement import Table
from serving.contract import Contract, Frozen
from serving.errors import ConfigError, DataError

Share = Annotated[float, Field(gt=0, lt=1)]
Cost = Annotated[float, Field(gt=0, lt=1e9)]


Confusions = dict[str, dict[str, Annotated[float, Field(ge=0, lt=1e9)]]]  # true class, answer, cost


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


def check_costs(costs: Confusions, threshold: Threshold | None, contract: Contract) -> None:
    """Refuse *costs* of classes that the *contract* does not have, of right answers, or beside a *threshold*."""
    classes = contract.target.classes
    if costs and not classes:
        raise ConfigError("costs: is for a target of classes; an error of numbers costs what the metric says")
    if costs and threshold is not None:
        raise ConfigError("costs: and threshold: each say which class is answered; expected one of them")
    for truth, answers in costs.items():
        for key, name in ((f"costs.{truth}", truth), *((f"costs.{truth}.{one}", one) for one in answers)):
            if name not in classes:
                raise ConfigError(f"{key}: no class {name!r} in the target; expected one of {', '.join(classes)}")
        if truth in answers:
            raise ConfigError(f"costs.{truth}.{truth}: a right answer costs nothing; leave it out")


def cost_table(costs: Confusions, threshold: Threshold | None, contract: Contract) -> Table:
    """What each true class (outer) costs that is answered as another (inner), in the contract's order.

    What nobody names costs 1. Empty where neither *costs* nor the *threshold* say what errors cost.
    """
    classes = contract.target.classes
    known: Mapping[str, Mapping[str, float]] = costs
    if threshold is not None and threshold.cost is not None:
        first, second = classes
        known = {first: {second: threshold.cost.false_alarm}, second: {first: threshold.cost.miss}}
    if not known:
        return ()
    return tuple(tuple(0.0 if a == t else known.get(t, {}).get(a, 1.0) for a in classes) for t in classes)


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

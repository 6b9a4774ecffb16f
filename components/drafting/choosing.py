"""The gates of a draft, from what simple predictions and quick fits were measured to be worth."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.drafting.baselines import Baseline
from components.drafting.doubts import Doubt
from components.judging import metrics
from components.judging.metrics import Metric, Task

SLACK = 1.05  # times the loss of the best simple prediction, that a model may have
ROOM = 1.1  # times the error of the best quick fit, that a model may have on other rows
BEATS = 0.97  # times the loss of the mean, that it must stay below whatever else was measured
RARE = 0.3  # share of the rarer of two classes, below which a half is no threshold to answer by


@dataclass(frozen=True)
class Choice:
    """What a model has to be worth.

    Attributes:
        gates: each with its reason.
        told: what simple predictions and quick fits are worth.
        hardly: why no model is likely to be worth anything; empty where one is.
    """

    gates: tuple[tuple[Mapping[str, Any], str], ...] = ()
    told: str = ""
    hardly: str = ""


def choose(seen: Sequence[Baseline], task: Task) -> Choice:
    """Gates that the best simple prediction sets, where any model could be fitted."""
    metric = metrics.leading(task)
    known = [one for one in seen if metric.name in one.metrics and math.isfinite(one.metrics[metric.name])]
    models = [one for one in known if one.fitted]
    if not models:
        return Choice()
    told = ", ".join(f"{one.name} {number(one.metrics[metric.name])}" for one in known)
    best = min(models, key=lambda one: one.metrics[metric.name])
    gates = tuple(_gates(known, metric, _floor(known, metric), task))
    return Choice(gates, f"{metric.label} on the held-out rows: {told}", _hardly(known, best, metric))


def doubts(choice: Choice) -> Iterator[Doubt]:
    """That nothing in the table predicts the target, where that is so."""
    if choice.hardly:
        yield Doubt(
            "nothing learned", (), choice.hardly, "the gates will refuse such a model; bring columns that tell more"
        )


def number(value: float) -> str:
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:.4g}"


def _floor(known: Sequence[Baseline], metric: Metric) -> tuple[float, str]:
    """The loss that a model may have at most, and whose."""
    simple = [one for one in known if one.simple and one.known]
    free = simple[0]
    best = min(simple, key=lambda one: one.metrics[metric.name])
    bar = min(SLACK * best.metrics[metric.name], BEATS * free.metrics[metric.name])
    what = f"{best.name} has {number(best.metrics[metric.name])}, and {free.name} {number(free.metrics[metric.name])}"
    return up(bar), what


def _gates(
    known: Sequence[Baseline], metric: Metric, floor: tuple[float, str], task: Task
) -> Iterator[tuple[Mapping[str, Any], str]]:
    yield {"metric": metric.name, "at_most": floor[0]}, f"{floor[1]}: a model is worth no less"
    if task == "classification":
        areas = (one.metrics.get("roc_auc", 0.5) for one in known)
        ranked = max((value for value in areas if math.isfinite(value)), default=0.5)
        least = math.floor(100 * max(0.5 + 0.8 * (ranked - 0.5), 0.52)) / 100
        yield {"metric": "roc_auc", "at_least": least}, f"{ranked:.3f} was reached without a search; 0.5 is chance"
    else:
        said = (one.metrics.get("r2", 0.0) for one in known if one.known)
        reached = max((value for value in said if math.isfinite(value)), default=0.0)
        least = math.floor(100 * max(min(0.8 * reached, 1 - ROOM**2 * (1 - reached)), 0.0)) / 100
        yield {"metric": "r2", "at_least": least}, f"{reached:.3f} was reached without a search; 0 is the mean's"
    champion = {"metric": metric.name, "against": "champion", "tolerance": "1%"}
    yield champion, "as good as the model that serves, so that a refresh may serve too"


def _hardly(known: Sequence[Baseline], best: Baseline, metric: Metric) -> str:
    free = min(
        (one for one in known if not one.fitted and one.known), key=lambda one: one.metrics[metric.name], default=None
    )
    if free is None or best.metrics[metric.name] < BEATS * free.metrics[metric.name]:
        return ""
    mine, theirs = best.metrics[metric.name], free.metrics[metric.name]
    return f"{best.name} has {metric.label} {number(mine)}, hardly better than {free.name} with {number(theirs)}"


def up(value: float) -> float:
    """*value* (above 0) with three digits, rounded away from 0."""
    if value <= 0:
        return 0.001
    ten = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / ten) * ten:.6g}")

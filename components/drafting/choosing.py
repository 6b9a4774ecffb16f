"""Family, search and gates of a draft, from what simple predictions were measured to be worth."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.drafting.baselines import Baseline
from components.drafting.doubts import Doubt
from components.judging import metrics
from components.judging.metrics import Metric, Task

CLEARLY = 0.98  # times the loss of trees, that a straight line needs to be chosen instead
SLACK = 1.05  # times the loss of the best simple prediction, that a model may have
BEATS = 0.97  # times the loss of the mean, that it must stay below whatever else was measured
TREES: Mapping[str, Any] = {
    "learning_rate": {"log": [0.02, 0.3]},
    "max_leaf_nodes": {"int": [8, 63]},
    "min_samples_leaf": {"int": [5, 60]},
    "l2_regularization": {"log": [0.001, 10]},
}


@dataclass(frozen=True)
class Choice:
    """What a draft says of the model and of what it has to be worth.

    Attributes:
        space: of the search.
        gates: each with its reason.
        hardly: why no model is likely to be worth anything; empty where one is.
    """

    family: str = "hist_gradient_boosting"
    params: Mapping[str, Any] = field(default_factory=dict)
    why: str = "trees take numbers, categories and gaps as they are"
    space: Mapping[str, Any] = field(default_factory=lambda: TREES)
    gates: tuple[tuple[Mapping[str, Any], str], ...] = ()
    told: str = ""
    hardly: str = ""


def choose(seen: Sequence[Baseline], task: Task) -> Choice:
    """The family that did best of those that were tried, and gates that the best simple prediction sets."""
    metric = metrics.leading(task)
    known = [one for one in seen if metric.name in one.metrics and math.isfinite(one.metrics[metric.name])]
    models = [one for one in known if one.spec is not None]
    if not models:
        return Choice()
    best = _best(models, metric)
    linear = bool(best.spec and best.spec.family in ("ridge", "logistic_regression"))
    told = ", ".join(f"{one.name} {number(one.metrics[metric.name])}" for one in known)
    choice = _spec(best, linear, metric, told, task)
    floor = _floor(known, metric)
    return Choice(
        choice.family, choice.params, choice.why, choice.space, tuple(_gates(known, metric, floor, task)), told,
        _hardly(known, best, metric),
    )  # fmt: skip


def doubts(choice: Choice) -> Iterator[Doubt]:
    """That nothing in the table predicts the target, where that is so."""
    if choice.hardly:
        yield Doubt(
            "nothing learned", (), choice.hardly, "the gates will refuse such a model; bring columns that tell more"
        )


def number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _best(models: Sequence[Baseline], metric: Metric) -> Baseline:
    trees = [one for one in models if not one.simple]
    lines = [one for one in models if one.simple]
    best = min(trees or lines, key=lambda one: one.metrics[metric.name])
    line = min(lines, key=lambda one: one.metrics[metric.name]) if lines else best
    return line if line.metrics[metric.name] < CLEARLY * best.metrics[metric.name] else best


def _spec(best: Baseline, linear: bool, metric: Metric, told: str, task: Task) -> Choice:
    why = f"the best of those tried on the newest or held-out rows, by {metric.label}: {told}"
    if linear and task == "regression":
        return Choice("ridge", {}, why, {"alpha": {"log": [0.01, 1000]}})
    if linear:
        return Choice("logistic_regression", {}, why, {"C": {"log": [0.01, 100]}})
    params = {"max_iter": 300}
    if best.spec is not None and "loss" in best.spec.params:
        params |= {"loss": best.spec.params["loss"]}
    return Choice("hist_gradient_boosting", params, why)


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
        ranked = max((one.metrics.get("roc_auc", 0.5) for one in known), default=0.5)
        least = math.floor(100 * max(0.5 + 0.8 * (ranked - 0.5), 0.52)) / 100
        yield {"metric": "roc_auc", "at_least": least}, f"{ranked:.3f} was reached without a search; 0.5 is chance"
    else:
        reached = max((one.metrics.get("r2", 0.0) for one in known), default=0.0)
        least = math.floor(100 * max(0.8 * reached, 0.05)) / 100
        yield {"metric": "r2", "at_least": least}, f"{reached:.3f} was reached without a search; 0 is the mean's"
    champion = {"metric": metric.name, "against": "champion", "tolerance": "1%"}
    yield champion, "as good as the model that serves, so that a refresh may serve too"


def _hardly(known: Sequence[Baseline], best: Baseline, metric: Metric) -> str:
    free = min(
        (one for one in known if one.spec is None and one.known), key=lambda one: one.metrics[metric.name], default=None
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

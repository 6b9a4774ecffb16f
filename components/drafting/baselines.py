"""What predictions that cost nothing are worth, and those of the families that a draft chooses from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from components.data.moments import event_of
from components.data.split import split
from components.data.tables import learned_contract, matrix_and_target
from components.judging import metrics
from components.modelling.families import ModelSpec
from components.modelling.training import fit, predict
from components.projects.project import Project
from serving.contract import Contract
from serving.errors import SlipwayError

SAMPLE = 20_000  # rows that are fitted and judged on
BEFORE = "the value before"
QUICK = {"max_iter": 100}
Values = metrics.Values


@dataclass(frozen=True)
class Baseline:
    """Predictions of one kind, and what they are worth on held-out rows.

    Attributes:
        simple: whether no model is needed for it, or none but a straight line.
        fitted: whether a model makes them.
    """

    name: str
    simple: bool
    metrics: dict[str, float]
    fitted: bool = False

    @property
    def known(self) -> bool:
        """Whether a caller has it when he asks; the value before is often known later."""
        return self.name != BEFORE


def measured(project: Project, good: pl.DataFrame) -> tuple[Baseline, ...]:
    """The baselines of *project* on its *good* rows, or evenly spaced ones of them; none where it cannot be split.

    Args:
        good: rows that the contract accepts as they came, since columns that it does not name may tell rows apart.

    Raises:
        DataError: a side of the split is empty, or lacks a class.
    """
    every = -(-good.height // SAMPLE)
    rows = good.gather_every(every) if every > 1 else good
    found = split(rows, project.split, project.contract, project.seed)
    return tuple(_baselines(project, found.train, found.holdout))


def _baselines(project: Project, train: pl.DataFrame, holdout: pl.DataFrame) -> Iterator[Baseline]:
    rules = learned_contract(train, project.contract)
    x, y = matrix_and_target(train, rules)
    x_held, y_held = matrix_and_target(holdout, rules)
    for name, prediction in _free(rules, y, y_held, holdout):
        yield Baseline(name, True, metrics.compute(rules.task, y_held, prediction))
    for name, spec in _specs(rules, y):
        try:
            fitted = fit(x, y, rules, project.features, spec, project.seed)
            seen = metrics.compute(rules.task, y_held, predict(fitted, rules, x_held))
        except SlipwayError:
            continue
        yield Baseline(name, spec.family in ("ridge", "logistic_regression"), seen, fitted=True)


def _free(rules: Contract, y: Values, y_held: Values, holdout: pl.DataFrame) -> Iterator[tuple[str, Values]]:
    """The mean, or the classes as often as they are; and the value before by time."""
    if rules.task == "classification":
        shares = np.bincount(y.astype(np.intp), minlength=len(rules.target.classes)) / len(y)
        yield "the share of each class", np.tile(shares, (len(y_held), 1))
        return
    yield "the mean", np.full(len(y_held), y.mean())
    if rules.event_time is not None and len(y_held) > 1:
        order = np.argsort(event_of(holdout, rules).to_numpy(), kind="stable")
        before = np.empty_like(y_held)
        before[order] = np.concatenate([[y[-1]], y_held[order][:-1]])
        yield BEFORE, before


def _specs(rules: Contract, y: Values) -> Iterator[tuple[str, ModelSpec]]:
    if rules.task == "classification":
        yield "logistic regression", ModelSpec(family="logistic_regression")
        yield "gradient boosting", ModelSpec(family="hist_gradient_boosting", params=QUICK)
        return
    yield "ridge", ModelSpec(family="ridge")
    yield "gradient boosting", ModelSpec(family="hist_gradient_boosting", params=QUICK)
    if y.min() >= 0 and y.mean() > 0 and _skew(y) > 0.5:
        yield (
            "gradient boosting, poisson",
            ModelSpec(family="hist_gradient_boosting", params={**QUICK, "loss": "poisson"}),
        )


def _skew(y: Values) -> float:
    return float((((y - y.mean()) / (y.std() or 1.0)) ** 3).mean())

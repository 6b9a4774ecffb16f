"""The model families a project may name, and how each becomes a scikit-learn estimator."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from components.judging.metrics import Task
from serving.contract import Frozen
from serving.errors import ConfigError

NOTHING: Mapping[str, Any] = MappingProxyType({})

# Each would make two equal runs differ, or print into the run's output.
RESERVED = {
    "random_state": "it is the project's 'seed'",
    "n_jobs": "threads add sums in another order, and equal runs must give equal models",
    "warm_start": "a run always starts from nothing",
    "verbose": "a run prints its own progress",
}


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        linear: the numbers must be complete and of one scale, and categories must be one-hot.
        missing: the estimator itself takes NaN.
        defaults: where we differ from scikit-learn.
    """

    regression: type[Any] | None = None
    classification: type[Any] | None = None
    linear: bool = False
    missing: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(task for task in ("regression", "classification") if getattr(self, task) is not None)

    def choices(self, task: Task | None = None) -> tuple[str, ...]:
        """The parameter names of the estimator for *task*, or of all its estimators, that a project may set."""
        kinds = [getattr(self, one) for one in (self.tasks if task is None else (task,))]
        return tuple(sorted({name for kind in kinds for name in kind().get_params()} - RESERVED.keys()))


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "linear_regression": Family(regression=LinearRegression, linear=True),
        "ridge": Family(regression=Ridge, linear=True),
        "lasso": Family(regression=Lasso, linear=True, defaults={"max_iter": 10_000}),
        "elastic_net": Family(regression=ElasticNet, linear=True, defaults={"max_iter": 10_000}),
        "logistic_regression": Family(classification=LogisticRegression, linear=True, defaults={"max_iter": 2_000}),
        "decision_tree": Family(DecisionTreeRegressor, DecisionTreeClassifier, missing=True),
        "random_forest": Family(RandomForestRegressor, RandomForestClassifier, missing=True),
        "extra_trees": Family(ExtraTreesRegressor, ExtraTreesClassifier, missing=True),
        "gradient_boosting": Family(GradientBoostingRegressor, GradientBoostingClassifier),
        # Early stopping would hold back a random tenth of the newest rows, and only above 10,000 of them.
        "hist_gradient_boosting": Family(
            HistGradientBoostingRegressor,
            HistGradientBoostingClassifier,
            missing=True,
            defaults={"early_stopping": False},
        ),
    }
)


class ModelSpec(Frozen):
    """A model family and the estimator parameters that a project fixes.

    Attributes:
        family: kind of model, by its name in ``components/modelling/families.py``: ridge, hist_gradient_boosting, ...
        params: estimator parameters by scikit-learn's names; all others are the family's defaults.

    Raises:
        ConfigError: the family, or a parameter of it, does not exist or is not a project's to set.
    """

    family: str
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.family not in FAMILIES:
            raise ConfigError(f"model.family: expected one of {', '.join(FAMILIES)}; seen {self.family!r}")
        check_names(self.family, self.params, where="model.params")
        return self


def check_names(family: str, names: Iterable[str], *, where: str, task: Task | None = None) -> None:
    """Refuse parameter *names* that *family* does not have; *where* is the key they were written under."""
    choices = FAMILIES[family].choices(task)
    for name in names:
        if name in RESERVED:
            raise ConfigError(f"{where}.{name} cannot be set: {RESERVED[name]}; remove it")
        if name not in choices:
            kind = f"{family} ({task})" if task else family
            raise ConfigError(f"{where}.{name}: expected a parameter of {kind}, one of {', '.join(choices)}")


def check_values(family: str, params: Mapping[str, Any], *, where: str, task: Task) -> None:
    """Refuse names in *params* as ``check_names``, and a value that the estimator for *task* would refuse in its fit.

    Each is tried alone; what two of them rule out together is ``check_fit``'s to say.
    """
    check_names(family, params, where=where, task=task)
    for name, value in params.items():
        try:
            getattr(FAMILIES[family], task)(**{name: value})._validate_params()
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{where}.{name}: {error}") from error


def check_fit(model: ModelSpec, task: Task, classes: int) -> None:
    """Refuse parameters of a linear *model* that do not go together, such as a solver and a penalty; costs a fit.

    The dozen or more made rows say nothing of trees, whose parameters may count rows and columns.
    """
    if not FAMILIES[model.family].linear:
        return
    rows = np.random.default_rng(0).normal(size=(4 * max(classes, 3), 2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, on noise
            build_estimator(model, task, 0).fit(rows, np.arange(len(rows)) % (classes or len(rows)))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.params: {' '.join(str(error).split())}") from error


def check_task(model: ModelSpec, task: Task) -> None:
    """Refuse a family that has no estimator for *task*."""
    if task not in FAMILIES[model.family].tasks:
        able = ", ".join(name for name, family in FAMILIES.items() if task in family.tasks)
        raise ConfigError(f"model.family: {model.family} has no {task}; expected one of {able}")


def build_estimator(model: ModelSpec, task: Task, seed: int, params: Mapping[str, Any] = NOTHING) -> Any:
    """An unfitted estimator; *params* win over the project's, which win over the family's defaults."""
    check_task(model, task)
    check_names(model.family, [*model.params, *params], where="model.params", task=task)
    family = FAMILIES[model.family]
    estimator = getattr(family, task)(**{**family.defaults, **model.params, **params})
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    return estimator

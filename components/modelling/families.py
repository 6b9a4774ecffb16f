"""The model families a project may name, and how each becomes a scikit-learn estimator."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self, cast

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
from components.modelling.recipes import AUTO
from serving.contract import Frozen
from serving.durations import Span
from serving.errors import ConfigError, PlaceError
from serving.scoring.bends import BENDS

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
        regression, classification: the estimator, or ``package:name`` of one that is imported when it is needed.
        linear: the numbers must be complete and of one scale, and categories must be one-hot.
        missing: the estimator itself takes NaN.
        rare: it takes a feature of which no row, or hardly any, has a value.
        native: missing values, and the codes of categories, reach it as they are.
        defaults: where we differ from its library.
        names: parameters that a project may set; None: all that the estimator tells of, less ``RESERVED``.
        signs, sets: the parameters that are written by column: of monotone signs, and of categories.
        sets_at_fit: the latter is an argument of its fit.
        rounds: the parameter that counts trees, where more of them are better until they are too many.
    """

    regression: type[Any] | str | None = None
    classification: type[Any] | str | None = None
    linear: bool = False
    missing: bool = False
    rare: bool = True
    native: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    signs: str = ""
    sets: str = ""
    sets_at_fit: bool = False
    rounds: str = ""

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(task for task in ("regression", "classification") if getattr(self, task) is not None)

    def kind(self, task: Task) -> type[Any]:
        """The class of the estimator for *task*.

        Raises:
            PlaceError: its package is not installed here.
        """
        found = getattr(self, task)
        if not isinstance(found, str):
            return cast("type[Any]", found)
        package, _, name = found.partition(":")
        try:
            return cast("type[Any]", getattr(importlib.import_module(package), name))
        except ImportError as error:
            raise PlaceError(
                f"model.family: {package} is not installed here; install slipway[{EXTRAS[package]}], or choose a family"
                f" of scikit-learn: {', '.join(name for name, one in FAMILIES.items() if one.names is None)}"
            ) from error

    def choices(self, task: Task | None = None) -> tuple[str, ...]:
        """The parameter names of the estimator for *task*, or of all its estimators, that a project may set."""
        if self.names is not None:
            return self.names if task != "regression" else tuple(sorted({*self.names} - BALANCES))
        kinds = [self.kind(one) for one in (self.tasks if task is None else (task,))]
        return tuple(sorted({name for kind in kinds for name in kind().get_params()} - RESERVED.keys()))


EXTRAS = {"lightgbm": "boosting", "catboost": "catboost", "xgboost": "boosting"}
BALANCES = {"class_weight", "scale_pos_weight", "is_unbalance", "auto_class_weights", "class_weights"}


def _boosted(package: str, stem: str, names: str, **more: Any) -> Family:
    told = tuple(sorted(names.split()))
    kinds = (f"{package}:{stem}Regressor", f"{package}:{stem}Classifier")
    return Family(*kinds, missing=True, native=True, names=told, **more)


_LIGHTGBM = _boosted(
    "lightgbm",
    "LGBM",
    "objective boosting_type num_leaves max_depth learning_rate n_estimators subsample subsample_freq colsample_bytree "
    "feature_fraction_bynode min_child_samples min_child_weight min_split_gain reg_alpha reg_lambda class_weight "
    "scale_pos_weight is_unbalance max_bin min_data_in_bin extra_trees path_smooth alpha fair_c "
    "tweedie_variance_power poisson_max_delta_step max_delta_step monotone_constraints monotone_constraints_method "
    "categorical_feature cat_smooth cat_l2 max_cat_threshold max_cat_to_onehot min_data_per_group top_rate other_rate "
    "data_sample_strategy drop_rate max_drop skip_drop xgboost_dart_mode uniform_drop",
    defaults={"n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbose": -1},
    signs="monotone_constraints",
    sets="categorical_feature",
    sets_at_fit=True,
    rounds="n_estimators",
)
_XGBOOST = _boosted(
    "xgboost",
    "XGB",
    "objective n_estimators max_depth max_leaves grow_policy learning_rate min_child_weight gamma subsample "
    "sampling_method colsample_bytree colsample_bylevel colsample_bynode reg_alpha reg_lambda scale_pos_weight max_bin "
    "max_delta_step monotone_constraints quantile_alpha tweedie_variance_power huber_slope base_score tree_method",
    defaults={"n_jobs": 1, "tree_method": "hist"},
    signs="monotone_constraints",
    rounds="n_estimators",
)
_CATBOOST = _boosted(
    "catboost",
    "CatBoost",
    "loss_function iterations learning_rate depth l2_leaf_reg random_strength bagging_temperature bootstrap_type "
    "subsample rsm border_count min_data_in_leaf monotone_constraints auto_class_weights class_weights "
    "scale_pos_weight leaf_estimation_iterations leaf_estimation_method nan_mode boosting_type score_function",
    defaults={"thread_count": 1, "verbose": False, "allow_writing_files": False},
    signs="monotone_constraints",
    rounds="iterations",
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "linear_regression": Family(regression=LinearRegression, linear=True),
        "ridge": Family(regression=Ridge, linear=True),
        "lasso": Family(regression=Lasso, linear=True, defaults={"max_iter": 10_000}),
        "elastic_net": Family(regression=ElasticNet, linear=True, defaults={"max_iter": 10_000}),
        "logistic_regression": Family(classification=LogisticRegression, linear=True, defaults={"max_iter": 2_000}),
        "decision_tree": Family(DecisionTreeRegressor, DecisionTreeClassifier, missing=True, signs="monotonic_cst"),
        "random_forest": Family(RandomForestRegressor, RandomForestClassifier, missing=True, signs="monotonic_cst"),
        "extra_trees": Family(ExtraTreesRegressor, ExtraTreesClassifier, missing=True, signs="monotonic_cst"),
        "gradient_boosting": Family(GradientBoostingRegressor, GradientBoostingClassifier, rounds="n_estimators"),
        # Early stopping would hold back a random tenth of the newest rows, and only above 10,000 of them.
        "hist_gradient_boosting": Family(
            HistGradientBoostingRegressor,
            HistGradientBoostingClassifier,
            missing=True,
            rare=False,
            native=True,
            defaults={"early_stopping": False, "categorical_features": None},
            signs="monotonic_cst",
            sets="categorical_features",
            rounds="max_iter",
        ),
        "lightgbm": _LIGHTGBM,
        "xgboost": _XGBOOST,
        "catboost": _CATBOOST,
    }
)


class Weights(Frozen):
    """How much each training row counts; without a key all count the same.

    Attributes:
        column: of the table, with the weights themselves: numbers of at least 0.
        half_life: a row that is older than the newest by this counts half.
    """

    column: str | None = None
    half_life: Span | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.column is not None and self.half_life is not None:
            raise ValueError("expected one of 'column' and 'half_life'")
        return self


class ModelSpec(Frozen):
    """A model family, the estimator parameters that a project fixes, and what it learns to predict.

    Attributes:
        family: kind of model: auto, which searches over those that are installed, or one of them, such as ridge,
            hist_gradient_boosting or lightgbm; ``docs/models.md``.
        params: parameters of the family by its library's names; all others are the family's defaults.
        target: what it learns instead of the target itself; answers are in the target's own unit all the same.
        smearing: whether the way back from a bent target gives a mean instead of a median (``bends``).
        per: column that the target is divided by before, and the answer is multiplied by in the end.
        exposure: as ``per``, and rows weigh as much as that column says: with loss ``poisson`` an offset of its
            logarithm.
        weights: how much each row counts.
        refit: ``all``: what is served is fitted on all rows, the newest included, once a twin that has not seen the
            held-out ones was accepted; the default where the family is left open.

    Raises:
        ConfigError: the family, or a parameter of it, does not exist or is not a project's to set.
    """

    family: str
    params: dict[str, Any] = Field(default_factory=dict)
    target: Literal["none", "log", "log1p", "sqrt", "yeo-johnson"] = "none"
    smearing: bool = False
    per: str | None = None
    exposure: str | None = None
    weights: Weights = Weights()
    refit: Literal["all", "none"] | None = None

    @property
    def unit(self) -> str:
        """The column that answers are multiplied by; empty for none."""
        return self.per or self.exposure or ""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"family": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.per and self.exposure:
            raise ConfigError("model.exposure: it divides by a column as 'per' does; expected one of the two")
        if self.smearing and BENDS[self.target].smear is None:
            able = ", ".join(name for name, bend in BENDS.items() if bend.smear)
            raise ConfigError(f"model.smearing: needs model.target to be one of {able}; seen {self.target!r}")
        if self.family == AUTO:
            if self.params or self.smearing:
                raise ConfigError("model.params: of no use without a family, since 'auto' chooses it with its params")
            return self
        if self.family not in FAMILIES:
            raise ConfigError(f"model.family: expected {AUTO} or one of {', '.join(FAMILIES)}; seen {self.family!r}")
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

    Each is tried alone; what two of them rule out together is ``check_fit``'s to say, as is all of another library.
    """
    check_names(family, params, where=where, task=task)
    kind = FAMILIES[family].kind(task)
    for name, value in params.items():
        try:
            if hasattr(kind, "_parameter_constraints") and name not in (FAMILIES[family].signs, FAMILIES[family].sets):
                kind(**{name: value})._validate_params()
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{where}.{name}: {error}") from error


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
    settings = {**family.defaults, **model.params, **params}
    if family.sets_at_fit:
        settings.pop(family.sets, None)
    estimator = family.kind(task)(**settings)
    if family.names is not None or "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    return estimator

"""The kinds of model: which estimators a family has, and what each takes of features and of params.

Ours stand in ``FAMILIES``. Others are offered by installed packages under the entry point group ``slipway.families``: a
class of scikit-learn, or a function that gives an unfitted estimator or Pipeline. What they do with their numbers is
not known here, so these are complete, of one scale, and categories one-hot, unless the project says otherwise.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from sklearn.base import is_classifier, is_regressor
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
from sklearn.utils import get_tags

from components.judging.metrics import Task
from components.modelling.recipes import AUTO
from serving.bundle import own
from serving.errors import ConfigError, PlaceError

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
        own: an installed package offers it, and nothing is known of it but that.
    """

    regression: Callable[..., Any] | str | None = None
    classification: Callable[..., Any] | str | None = None
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
    own: bool = False

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(task for task in ("regression", "classification") if getattr(self, task) is not None)

    def kind(self, task: Task) -> Callable[..., Any]:
        """The class of the estimator for *task*, or what gives one.

        Raises:
            PlaceError: its package is not installed here.
        """
        found = getattr(self, task)
        if not isinstance(found, str):
            return cast("Callable[..., Any]", found)
        package, _, name = found.partition(":")
        try:
            return cast("Callable[..., Any]", getattr(importlib.import_module(package), name))
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
    defaults = {"random_state": 0, **more.pop("defaults")}
    return Family(*kinds, missing=True, native=True, defaults=defaults, names=told, **more)


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


def family_of(name: str) -> Family:
    """The family of that *name*: ours, else an installed package's.

    Raises:
        ConfigError: nobody has it, or what a package offers by it is no estimator that we can fit.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    offer = own.offer(own.FAMILIES, name)
    if offer is None:
        known = [*FAMILIES, *own.offered(own.FAMILIES)]
        raise ConfigError(
            f"model.family: expected {AUTO} or one of {', '.join(known)}, or what an installed package "
            f"offers under the entry point group {own.FAMILIES}; seen {name!r}"
        )
    try:
        make = offer.load()
        made, settings = make(), inspect.signature(make).parameters.values()
        task: Task | None = "regression" if is_regressor(made) else "classification" if is_classifier(made) else None
        missing = all(get_tags(one).input_tags.allow_nan for _, one in getattr(made, "steps", [("", made)])[:1])
    except Exception as error:  # whatever another package raises
        raise ConfigError(f"model.family: {name}, of {offer.value}, cannot be made: {error!r}") from error
    if task is None or (task == "classification" and not hasattr(made, "predict_proba")):
        raise ConfigError(
            f"model.family: {name}, of {offer.value}: expected an estimator or Pipeline of scikit-learn that is "
            f"a regressor, or a classifier with predict_proba; got {type(made).__name__}"
        )
    return Family(
        **{task: make},
        linear=True,
        missing=missing,
        defaults={one.name: one.default for one in settings if one.default is not one.empty},
        names=tuple(sorted({one.name for one in settings if one.default is not one.empty} - RESERVED.keys())),
        own=True,
    )


def check_offer(name: str) -> None:
    """Refuse a family of ours, by *name*, that an installed package offers too: nobody could say which is meant."""
    offer = own.offer(own.FAMILIES, name)
    if offer is not None and name in (AUTO, *FAMILIES):
        raise ConfigError(
            f"model.family: {name} is a family of Slipway's, and {offer.value} of an installed package is offered by "
            f"the same name under {own.FAMILIES}; remove that package, or give its entry point another name"
        )

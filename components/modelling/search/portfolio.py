"""Where a search over families starts: few settings for each, that do well on many tables, and how they are varied."""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.data.tables import Vector
from components.modelling.kinds import FAMILIES, Family
from components.modelling.mixtures import Member
from serving.contract import Contract

ROUNDS = 800  # at most; boosting stops when watched rows get no better
SKEWED = 1.0  # third standardized moment, above which a bent target is tried
MANY_ROWS = 30_000  # above which no forest of deep trees is grown: it would be hundreds of MB
_BOOSTED: Mapping[str, tuple[dict[str, Any], ...]] = {
    "lightgbm": (
        {"learning_rate": 0.1, "num_leaves": 31, "min_child_samples": 15, "subsample": 0.8, "subsample_freq": 1,
         "colsample_bytree": 0.6, "reg_lambda": 1.0},
        {"learning_rate": 0.08, "num_leaves": 31, "min_child_samples": 5, "extra_trees": True, "subsample": 0.9,
         "subsample_freq": 1, "colsample_bytree": 0.8, "reg_lambda": 1.0},
        {"learning_rate": 0.1, "num_leaves": 7, "min_child_samples": 10, "colsample_bytree": 0.4, "subsample": 0.8,
         "subsample_freq": 1, "reg_lambda": 5.0},
    ),
    "catboost": (
        {"learning_rate": 0.08, "depth": 6, "l2_leaf_reg": 3.0, "border_count": 128},
        {"learning_rate": 0.1, "depth": 4, "l2_leaf_reg": 6.0, "border_count": 64},
    ),
    "xgboost": (
        {"learning_rate": 0.08, "max_depth": 6, "min_child_weight": 4.0, "subsample": 0.8, "colsample_bynode": 0.6,
         "reg_lambda": 2.0},
        {"learning_rate": 0.1, "max_depth": 3, "min_child_weight": 1.0, "subsample": 0.8, "colsample_bynode": 0.4,
         "reg_lambda": 5.0},
    ),
    "hist_gradient_boosting": (
        {"learning_rate": 0.08, "max_leaf_nodes": 31, "min_samples_leaf": 15, "max_features": 0.6},
        {"learning_rate": 0.1, "max_leaf_nodes": 7, "min_samples_leaf": 10, "max_features": 0.4},
    ),
}  # fmt: skip
# Parameter to lowest and highest value, on a scale of logarithms; whole numbers stay whole.
_RANGES: Mapping[str, tuple[float, float]] = {
    "learning_rate": (0.02, 0.2), "num_leaves": (4, 128), "min_child_samples": (2, 100), "subsample": (0.5, 1.0),
    "colsample_bytree": (0.2, 1.0), "reg_lambda": (0.01, 50.0), "depth": (3, 8), "l2_leaf_reg": (0.5, 30.0),
    "border_count": (32, 254), "max_depth": (2, 9), "min_child_weight": (0.5, 30.0), "colsample_bynode": (0.2, 1.0),
    "max_leaf_nodes": (4, 128), "min_samples_leaf": (1, 100), "max_features": (0.2, 1.0), "alpha": (0.001, 1000.0),
    "C": (0.001, 1000.0), "n_estimators": (40, 120),
}  # fmt: skip
# Losses for targets that are never below, or always above, 0; and which families have them under which names.
# CatBoost's Poisson loss starts far off and needs hundreds of rounds to come back: it takes the bent target.
_COUNTING = {"lightgbm": ("objective", "poisson"), "xgboost": ("objective", "count:poisson"),
             "hist_gradient_boosting": ("loss", "poisson")}  # fmt: skip
_GROWING = {"lightgbm": ("objective", "gamma"), "xgboost": ("objective", "reg:gamma"),
            "hist_gradient_boosting": ("loss", "gamma")}  # fmt: skip


@dataclass(frozen=True)
class Prospects:
    """What the training rows are like.

    Attributes:
        bend: the one that is tried beside the target itself; ``none`` where it is not skewed.
        losses: family to a parameter and its value, for each loss that the target allows beside the usual one.
    """

    contract: Contract
    rows: int
    bend: str
    losses: Sequence[Mapping[str, tuple[str, str]]]

    @classmethod
    def of(cls, contract: Contract, target: Vector) -> "Prospects":
        """*target* as it is learned: per unit, where a unit is asked for."""
        if contract.task == "classification":
            return cls(contract, len(target), "none", ())
        low, spread = float(target.min()), float(target.std())
        skew = float(np.mean(((target - target.mean()) / spread) ** 3)) if spread > 0 else 0.0
        bend = "none" if skew <= SKEWED else "log" if low > 0 else "log1p" if low >= 0 else "yeo-johnson"
        losses = ([_COUNTING] if low >= 0 else []) + ([_GROWING] if low > 0 else [])
        return cls(contract, len(target), bend, losses if skew > SKEWED / 2 else ())


def installed() -> tuple[str, ...]:
    """The boosting libraries that are here, the best first; scikit-learn's where none of the others is."""
    here = tuple(name for name in ("lightgbm", "catboost", "xgboost") if importlib.util.find_spec(name))
    return here if "lightgbm" in here else ("hist_gradient_boosting", *here)


def missing() -> tuple[str, ...]:
    """The boosting libraries that a search would use if they were here."""
    return tuple(name for name in ("lightgbm", "xgboost", "catboost") if importlib.util.find_spec(name) is None)


def first(prospects: Prospects) -> list[Member]:
    """What is tried whatever comes out: they tell which target and which loss the table wants."""
    main = installed()[0]
    tried = [_linear(prospects, bend) for bend in dict.fromkeys(("none", prospects.bend))]
    tried.append(_boosted(main, 0, prospects))
    if prospects.bend != "none":
        tried.append(_boosted(main, 0, prospects, target=prospects.bend))
    return tried + [_boosted(main, 0, prospects, loss=loss) for loss in prospects.losses]


def straighter(line: Member) -> list[Member]:
    """*line* with its penalty moved by factors of ten, which matters most where columns are many and rows are few."""
    name = "alpha" if "alpha" in line.params else "C"
    moved = (line.params[name] * factor for factor in (0.1, 10.0, 0.01, 100.0))
    return [line.model_copy(update={"params": {name: value}}) for value in moved]


def second(prospects: Prospects, best: Member) -> list[Member]:
    """The other families and settings, with the target and the loss of the *best* so far."""
    loss = next((one for one in prospects.losses if one.get(best.family, ("", ""))[1] in best.params.values()), None)
    tried = []
    for place in range(3):
        for family in installed():
            if place < len(_BOOSTED[family]) and (place or family != installed()[0]):
                tried.append(_boosted(family, place, prospects, target=best.target, loss=loss))
    if prospects.rows <= MANY_ROWS:
        forest = {"n_estimators": 80, "min_samples_leaf": 3, "max_features": 0.5}
        tried.insert(3, Member(family="extra_trees", params=forest, target=best.target))
    return tried


def varied(member: Member, random: np.random.Generator) -> Member:
    """*member* with about half of its numbers moved, and now and then another way to take categories or smear."""
    params = dict(member.params)
    for name, value in params.items():
        if name in _RANGES and random.random() < 0.6:
            low, high = _RANGES[name]
            moved = min(max(value * math.exp(random.normal(0, 0.45)), low), high)
            params[name] = round(moved) if isinstance(value, int) else float(f"{moved:.4g}")
    if "extra_trees" in FAMILIES[member.family].choices() and random.random() < 0.25:
        params["extra_trees"] = not params.get("extra_trees", False)
    native = member.native != (random.random() < 0.2 and _has_sets(FAMILIES[member.family]))
    smearing = member.smearing != (random.random() < 0.2 and member.target in ("log", "log1p", "sqrt"))
    return member.model_copy(update={"params": params, "native": native, "smearing": smearing})


def most_rounds(family: str) -> int:
    """How many rounds a trial may take; scikit-learn's boosting cannot stop before them."""
    return 300 if family == "hist_gradient_boosting" else ROUNDS


def _has_sets(family: Family) -> bool:
    return bool(family.sets)


def _boosted(
    family: str,
    place: int,
    prospects: Prospects,
    target: str = "none",
    loss: Mapping[str, tuple[str, str]] | None = None,
) -> Member:
    kind, params = FAMILIES[family], dict(_BOOSTED[family][place])
    params[kind.rounds] = most_rounds(family)
    if loss is not None and family in loss:
        key, value = loss[family]
        params[key] = value
    elif loss is not None:  # the nearest that this family has
        target = prospects.bend
    native = _has_sets(kind) and any(column.type == "category" for column in prospects.contract.slots.values())
    return Member.model_validate({"family": family, "params": params, "target": target, "native": native})


def _linear(prospects: Prospects, bend: str) -> Member:
    if prospects.contract.task == "classification":
        return Member(family="logistic_regression", params={"C": 1.0})
    return Member.model_validate({"family": "ridge", "params": {"alpha": 10.0}, "target": bend})

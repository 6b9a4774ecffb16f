"""Fitting: from rows that were accepted to a Pipeline that predicts."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.data.tables import Vector
from components.modelling.boosters import flattened
from components.modelling.by_column import placed
from components.modelling.families import FAMILIES, NOTHING, ModelSpec
from components.modelling.features import FeatureSpec, build_pipeline
from components.modelling.targets import Task, task_of
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError
from serving.scoring.bends import BENDS, STRAIGHT, Back
from serving.scoring.retarget import Retargeted

SMEARING_DEALS = (
    3  # each row's residual is of a fit that did not see it: those of a forest's own rows are far too small
)


def fit(
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any] = NOTHING,
    weights: Vector | None = None,
) -> Pipeline:
    """A Pipeline fitted on a coded matrix and its target, whose rows count as *weights* say.

    One thread: sums are then added in one order, so that equal rows give equal models on any number of cores; and a
    second OpenMP thread costs many times what it brings as soon as anything else runs beside it.

    Raises:
        ConfigError: the family refuses a parameter's name or value.
        DataError: no rows, a class without a row, or a target that cannot be bent as the model says.
    """
    _complete(target, contract)
    task = task_of(model, contract, matrix, target, weights)

    def fitted(rows: npt.NDArray[Any] | slice) -> Pipeline:
        pipeline = build_pipeline(contract, features, model, seed, params)
        counted = None if task.weights is None else task.weights[rows]
        return _fit(pipeline, contract.frame(matrix[rows]), task.labels[rows], counted, model, params)

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*valid feature names.*")  # our arrays have none, on both sides
        pipeline = fitted(slice(None))
        if task.back == STRAIGHT:
            return pipeline
        back = _smeared(task, contract, matrix, fitted) if model.smearing else task.back
    return Pipeline([("model", Retargeted(pipeline, back.bend, back.numbers, back.per))])


def _fit(
    pipeline: Pipeline,
    table: Any,
    labels: npt.NDArray[Any],
    weights: Vector | None,
    model: ModelSpec,
    params: Mapping[str, Any],
) -> Pipeline:
    """*pipeline* fitted, with an estimator that a bundle can hold."""
    head, (name, estimator), family = pipeline[:-1], pipeline.steps[-1], FAMILIES[model.family]
    try:
        x = head.fit_transform(table, labels)
        by_place = placed(model.family, {**model.params, **params}, head)
        arguments = {} if weights is None else {"sample_weight": weights}
        if family.sets_at_fit and family.sets in by_place:
            arguments[family.sets] = by_place.pop(family.sets)
        estimator.set_params(**by_place).fit(x, labels, **arguments)
    except ConfigError:
        raise
    except _refusals() as error:  # the rows are complete here, so what is refused is a value of a parameter
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"model: {model.family} cannot be fitted with these params: {reason}") from error
    pipeline.steps[-1] = (name, flattened(estimator))
    return pipeline


def _refusals() -> tuple[type[Exception], ...]:
    """What the libraries in use raise for parameters that they do not take."""
    import sys

    found: list[type[Exception]] = [ValueError, TypeError]
    for module, name in (("lightgbm.basic", "LightGBMError"), ("catboost", "CatBoostError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def _smeared(task: Task, contract: Contract, matrix: Matrix, fitted: Any) -> Back:
    """The way back with what rows that a fit has not seen lie off it."""
    place = np.arange(len(matrix)) % SMEARING_DEALS
    residuals = np.empty(len(matrix))
    for deal in range(SMEARING_DEALS):
        out = place == deal
        if out.all() or not out.any():
            raise DataError(f"model.smearing: needs at least {SMEARING_DEALS} training rows, seen {len(matrix)}")
        residuals[out] = task.labels[out] - fitted(~out).predict(contract.frame(matrix[out]))
    smear = BENDS[task.back.bend].smear
    assert smear is not None  # noqa: S101 - ModelSpec refuses the others
    return Back(task.back.bend, smear(task.back.numbers, residuals, task.weights), task.back.per)


def predict(pipeline: Pipeline, contract: Contract, matrix: Matrix) -> Vector:
    """Predictions (n_rows,) in the target's unit, or probabilities (n_rows, n_classes) in the contract's order."""
    table = contract.frame(matrix)
    with threadpool_limits(limits=1):
        answer = pipeline.predict_proba(table) if contract.task == "classification" else pipeline.predict(table)
    return np.asarray(answer, dtype=np.float64)


def _complete(target: Vector, contract: Contract) -> None:
    if not len(target):
        raise DataError("there are no training rows: expected at least one after validation and split")
    present = np.unique(target)
    absent = [word for code, word in enumerate(contract.target.classes) if code not in present]
    if absent:
        raise DataError(
            f"no training row has {contract.target.name} {absent[0]!r}: expected rows of every class of the contract;"
            " widen the source or remove the class"
        )

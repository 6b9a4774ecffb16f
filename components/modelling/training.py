"""Fitting: from rows that were accepted to a Pipeline that predicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.data.tables import Vector
from components.modelling.families import NOTHING, ModelSpec
from components.modelling.features import FeatureSpec, build_pipeline
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError


def fit(
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any] = NOTHING,
) -> Pipeline:
    """A Pipeline fitted on a coded matrix and its target.

    One thread: sums are then added in one order, so that equal rows give equal models on any number of cores; and a
    second OpenMP thread costs many times what it brings as soon as anything else runs beside it.

    Raises:
        ConfigError: the family refuses a parameter's name or value.
        DataError: no rows, or a class without a row.
    """
    _complete(target, contract)
    pipeline = build_pipeline(contract, features, model, seed, params)
    labels = target.astype(np.int64) if contract.task == "classification" else target
    with threadpool_limits(limits=1):
        try:
            return pipeline.fit(contract.frame(matrix), labels)
        except ValueError as error:  # the rows are complete here, so what is refused is a value of a parameter
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"model: {model.family} cannot be fitted with these params: {reason}") from error


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

"""Fitting: from rows that were accepted to a Pipeline that predicts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.core.families import NOTHING, ModelSpec
from components.core.features import FeatureSpec, build_pipeline
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ModelSpec", "Vector", "fit", "matrix_and_target", "predict", "train"]

Vector = npt.NDArray[np.float64]


def train(
    table: "pd.DataFrame | pl.DataFrame",
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any] = NOTHING,
) -> Pipeline:
    """A Pipeline fitted on the rows of *table*, which holds the contract's columns and its target.

    Raises:
        ConfigError: the family refuses a parameter's name or value.
        DataError: no rows, a target with gaps, or a class without a row.
    """
    matrix, target = matrix_and_target(table, contract)
    return fit(matrix, target, contract, features, model, seed, params)


def fit(
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any] = NOTHING,
) -> Pipeline:
    """Like ``train``, on a coded matrix and its target.

    One thread: sums are then added in one order, so that equal rows give equal models on any number of cores; and a
    second OpenMP thread costs many times what it brings as soon as anything else runs beside it.
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


def matrix_and_target(frame: "pd.DataFrame | pl.DataFrame", contract: Contract) -> tuple[Matrix, Vector]:
    """The coded matrix of *frame* and its target: numbers, or positions in ``contract.target.classes`` as floats.

    Raises:
        DataError: a column is absent, the target has gaps, or holds a class that the contract does not name.
    """
    absent = [name for name in (*contract.names, contract.target.name) if name not in frame.columns]
    if absent:
        raise DataError(f"the table has no column {absent[0]!r}; it has {', '.join(map(str, frame.columns))}")
    if not isinstance(frame, pd.DataFrame):
        frame = _to_pandas(frame, contract)
    return contract.encode(frame), _target(frame[contract.target.name], contract)


def _to_pandas(frame: "pl.DataFrame", contract: Contract) -> pd.DataFrame:
    """The columns the contract names, without pyarrow: numbers as float64 with NaN, categories as objects."""
    import polars as pl  # only where a polars table arrives: the release image has none

    table: dict[str, Any] = {}
    for name, column in contract.columns.items():
        if column.type == "category":
            table[name] = np.array(frame[name].cast(pl.String).to_list(), dtype=object)
        else:
            table[name] = frame[name].cast(pl.Float64).to_numpy()
    table[contract.target.name] = np.array(frame[contract.target.name].to_list(), dtype=object)
    return pd.DataFrame(table)


def _target(values: pd.Series, contract: Contract) -> Vector:
    name, classes = contract.target.name, contract.target.classes
    if not classes:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        gaps = int((~np.isfinite(numbers)).sum())
        if gaps:
            raise DataError(f"the target {name!r} is missing or not a number in {gaps} of {len(numbers)} rows")
        return np.asarray(numbers, dtype=np.float64)
    codes = {word: float(code) for code, word in enumerate(classes)}
    words = [None if pd.isna(value) else _word(value) for value in values]
    foreign = next((word for word in words if word not in codes), ...)
    if foreign is not ...:
        seen = "a missing value" if foreign is None else repr(foreign)
        raise DataError(f"the target {name!r}: expected one of {', '.join(classes)}, seen {seen}")
    return np.array([codes[word] for word in words if word is not None], dtype=np.float64)


def _word(value: Any) -> str:
    """A class as the contract writes it: true for True, 1 for 1.0."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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

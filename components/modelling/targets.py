"""What a model learns instead of its target, and how much each row counts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.meaning import value
from components.data.rules import meant
from components.data.tables import Vector
from components.modelling.families import ModelSpec
from serving.contract import Column, Contract, Matrix
from serving.errors import ConfigError, DataError
from serving.scoring.bends import BENDS, Back


@dataclass(frozen=True)
class Lesson:
    """What is fitted.

    Attributes:
        labels: (n_rows,) positions of classes, or the bent target.
        weights: (n_rows,) or None where all rows count the same.
        back: the way from a prediction of *labels* to one of the target.
    """

    labels: npt.NDArray[np.int64] | Vector
    weights: Vector | None
    back: Back


def check_target(model: ModelSpec, contract: Contract) -> None:
    """Refuse a bent target, a unit or weights that the *contract*'s columns cannot give.

    Raises:
        ConfigError: with the key, what it needs and what the contract says.
    """
    if contract.task == "classification" and (model.target != "none" or model.unit):
        key = "target" if model.target != "none" else "per" if model.per else "exposure"
        raise ConfigError(f"model.{key}: is for a target of numbers, and {contract.target.name} is one of classes")
    _check_range(model, contract)
    if model.unit:
        _check_unit(model, contract)
    if model.weights.half_life is not None and contract.event_time is None:
        raise ConfigError("model.weights.half_life: needs contract.event_time, the column with the moment of each row")


def _check_range(model: ModelSpec, contract: Contract) -> None:
    bend, bounds = BENDS[model.target], contract.target.range
    if bounds is not None and not bend.takes(np.array(bounds[:1], np.float64)).all():
        raise ConfigError(
            f"model.target: {model.target} needs a target {_bound(model)}, and contract.target.range starts at "
            f"{bounds[0]:g}; expected another target, or another range"
        )


def _bound(model: ModelSpec) -> str:
    bend = BENDS[model.target]
    return f"{'of at least' if bend.closed else 'above'} {bend.above:g}"


def _check_unit(model: ModelSpec, contract: Contract) -> None:
    key, name = "per" if model.per else "exposure", model.unit
    column = contract.slots.get(name)
    if column is None:
        raise ConfigError(f"model.{key}: no column {name!r} in contract.columns: {', '.join(contract.slots)}")
    low = column.range[0] if column.range is not None else None
    if not column.numeric or column.nullable or column.out_of_range == "flag" or low is None or low <= 0:
        raise ConfigError(
            f"model.{key}: {name} divides the target, so it must be a number that is never missing, with a 'range' "
            f"above 0 that requests are held to; expected that of its column in the contract"
        )


def lesson_of(model: ModelSpec, contract: Contract, matrix: Matrix, target: Vector, weights: Vector | None) -> Lesson:
    """What *model* learns of rows with *target*; *weights* are what ``row_weights`` gives.

    Raises:
        DataError: a target that cannot be bent, with its row.
    """
    if contract.task == "classification":
        return Lesson(target.astype(np.int64), weights, Back())
    labels = target
    if model.unit:
        unit = matrix[:, list(contract.slots).index(model.unit)]
        labels = target / unit
        if model.exposure:
            weights = unit if weights is None else weights * unit
    bend = BENDS[model.target]
    bad = np.flatnonzero(~bend.takes(labels))
    if len(bad):
        raise DataError(
            f"model.target: {model.target} needs {contract.target.name} {_bound(model)}, seen {target[bad[0]]:g} in "
            f"training row {bad[0]} and such in {len(bad):,} of {len(target):,}; choose another target, or set "
            "contract.target.range, which puts such rows aside"
        )
    numbers = bend.fit(labels)
    return Lesson(bend.there(labels, numbers), weights, Back(model.target, numbers, model.unit))


def row_weights(model: ModelSpec, rows: pl.DataFrame, contract: Contract) -> Vector | None:
    """How much each of *rows*, a table as it came, counts; None where all count the same.

    Raises:
        DataError: the table lacks the column, or a weight is missing, below 0 or not finite, or all are 0.
    """
    asked = model.weights
    if asked.half_life is not None:
        moment = meant(rows, contract)[str(contract.event_time)]
        age = (moment.max() - moment).dt.total_microseconds().to_numpy() / 1e6  # type: ignore[operator]  # moments
        return np.asarray(0.5 ** (age / asked.half_life.total_seconds()))
    return None if asked.column is None else _told(rows, asked.column)


def _told(rows: pl.DataFrame, name: str) -> Vector:
    if name not in rows.columns:
        raise DataError(f"model.weights.column: the table has no column {name!r}; it has {', '.join(rows.columns)}")
    cell = value(name, Column(type="float"), rows.schema[name]).cast(pl.Float64)
    weights = rows.select(cell.alias(name)).to_series().to_numpy()
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise DataError(
            f"model.weights.column: expected numbers of at least 0 in {name}, seen {rows[name][int(bad[0])]!r} in "
            f"training row {bad[0]}"
        )
    if not weights.any():
        raise DataError(f"model.weights.column: {name} is 0 in every training row; expected some that count")
    return np.asarray(weights, np.float64)

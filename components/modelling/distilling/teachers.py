"""A fitted model of any kind as one that answers rows of the contract."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from components.data.tables import Vector, coded
from components.modelling.given.reading import is_model, model_of, opened
from serving.contract import Contract
from serving.errors import DataError, SlipwayError, UsageError
from serving.scoring.api import class_order


@dataclass(frozen=True)
class Teacher:
    """What it says of rows, as of ``asking``; *notes* are what it was taken for, one phrase each."""

    said: Callable[[pl.DataFrame], Vector]
    notes: tuple[str, ...]


def read_teacher(path: Path, named: Mapping[str, str], contract: Contract) -> Teacher:
    """The model in *path*: one that can be imported, or else anything that answers pandas' tables of the columns that a
    request brings, such as an ensemble of another library.

    Raises:
        DataError, PlaceError, UsageError: as ``reading.read_model``; or it answers nothing.
    """
    found, notes = opened(path)
    if is_model(found):
        ready = model_of(path, found, named, notes).ready(contract)
        return Teacher(lambda rows: ready.said(coded(rows, contract)), ready.notes)
    if named:
        raise UsageError("--column: is for files of trees; this teacher is asked by the contract's names")
    how = "predict_proba" if contract.target.classes else "predict"
    if not hasattr(found, how):
        raise DataError(f"{path}: expected a model with {how}, got {type(found).__name__}")
    return Teacher(lambda rows: _of(found, getattr(found, how), rows, contract), notes)


def _of(found: Any, ask: Callable[[Any], Any], rows: pl.DataFrame, contract: Contract) -> Vector:
    try:
        answer = ask(rows.to_pandas())
    except SlipwayError:
        raise
    except Exception as error:  # whatever a library raises of a table that is not as it wants it
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"the teacher cannot answer these rows ({type(error).__name__}: {reason})") from error
    values = np.asarray(answer, np.float64)
    if not contract.target.classes:
        return values.reshape(-1)
    classes = getattr(answer, "columns", getattr(found, "classes_", None))
    return values if classes is None else values[:, class_order(np.asarray(classes), contract)]

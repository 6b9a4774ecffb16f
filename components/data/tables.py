"""From a table of accepted rows to what models compute with: the coded matrix and the target."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.contract import Contract, Matrix
from serving.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Vector = npt.NDArray[np.float64]


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

"""Open Inference Protocol tensors into the coded matrix; REST, binary and gRPC requests meet here.

Either one tensor per column, named like it, of shape [n] or [n, 1], in any order; or one tensor of shape
[n, n_columns] with the columns in the order of the contract. Numbers come as FP16..FP64 and INT8..UINT64, booleans as
BOOL, categories as BYTES. null and NaN are missing values. Only the matrix form may give a boolean as 0 or 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract import Column
from serving.predictor.errors import NOTHING, Refusal, Words, bad_cells, bad_request, shown, wrong
from serving.predictor.rows.validate import Checker, Rows

DTYPES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = (*DTYPES, "BYTES")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input tensor.

    Attributes:
        values: flat; float64 with NaN for null, or for BYTES a list of str and None.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[np.float64] | list[str | None]


@dataclass(frozen=True, slots=True)
class _Cells:
    """One column of a request: its codes of shape (n_rows, n_slots), what the client wrote, and the way to it."""

    codes: npt.NDArray[np.float64]
    seen: Callable[[int], Any]
    where: str


def announced(name: str, datatype: str, shape: Sequence[int], limit: int) -> tuple[str, int]:
    """*datatype*, and the number of elements of *shape*; at most *limit*, so that a shape cannot ask for memory.

    Raises:
        Refusal: 400 or 413.
    """
    if datatype not in DATATYPES:
        raise bad_request(f"inputs.{name}: expected a datatype of {', '.join(DATATYPES)}, got {shown(datatype)}")
    count = 1
    for extent in shape:
        if extent < 0:
            raise bad_request(f"inputs.{name}: expected a shape of whole numbers from 0, got {list(shape)[:8]}")
        count *= extent
        if count > limit:
            message = f"inputs.{name}: expected at most {limit} elements, got a shape of {list(shape)[:8]}"
            raise Refusal("too_large", message)
    return datatype, count


def tensor(name: str, datatype: str, shape: Sequence[int], values: Any) -> Tensor:
    """The tensor of *values*, as many as its shape says."""
    if len(values) != math.prod(shape):
        raise bad_request(
            f"inputs.{name}: expected {math.prod(shape)} values for shape {list(shape)}, got {len(values)}"
        )
    return Tensor(name, datatype, tuple(shape), values)


def rows_of_tensors(checker: Checker, tensors: Sequence[Tensor], max_rows: int) -> Rows:
    """The coded matrix of *tensors*.

    Raises:
        Refusal: 400 with every problem of the first bad rows; 413 for more than *max_rows* rows.
    """
    if not tensors:
        raise bad_request("inputs: expected one tensor per column, or one matrix, got an empty list")
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise bad_request(f"inputs: expected every name once, got {names[:50]}")
    first = tensors[0]
    if len(tensors) == 1 and len(first.shape) == 2 and first.name not in checker.contract.columns:
        columns, rows = _matrix(checker, first), first.shape[0]
    else:
        columns, rows = _named(checker, tensors)
    if rows == 0:
        raise bad_request(f"inputs: expected 1 to {max_rows} rows, got none")
    if rows > max_rows:
        raise Refusal(
            "too_large", f"inputs: expected at most {max_rows} rows in one request, got {rows}; send them in parts"
        )
    return checker.checked(
        np.concatenate([cells.codes for cells in columns.values()], axis=1),
        lambda row, position: columns[position].seen(row),
        where=lambda row, position: f"{columns[position].where}[{row}]",
        ids=checker.carried(lambda at: list(map(columns[at].seen, range(rows))) if at in columns else ()),
    )


def _matrix(checker: Checker, tensor: Tensor) -> dict[int, _Cells]:
    rows, width = tensor.shape
    ids = checker.ids if width == len(checker.names) - len(checker.ids) else ()
    if width != len(checker.names) - len(ids):
        raise bad_request(
            f"inputs.{tensor.name}: expected a shape of [n, {len(checker.names)}], the columns "
            f"{', '.join(checker.names)}, got {list(tensor.shape)}"
        )
    cells = {}
    for place, position in enumerate(one for one in range(len(checker.names)) if one not in ids):
        name = checker.names[position]
        part = Tensor(name, tensor.datatype, (rows,), tensor.values[place::width])
        cells[position] = _cells(checker, position, part, f"inputs.{tensor.name}.{name}", matrix=True)
    return cells


def _named(checker: Checker, tensors: Sequence[Tensor]) -> tuple[dict[int, _Cells], int]:
    problems = []
    given = {tensor.name: tensor for tensor in tensors}
    for name, column in checker.contract.inputs.items():
        if name not in given:
            expected = f"a tensor with {column.expected}"
            problems.append(wrong(None, name, expected, NOTHING, f"inputs.{name}", "missing_column"))
    problems += [checker.unknown(name, None, "inputs") for name in given if name not in checker.contract.columns]
    if problems:
        raise bad_cells(problems[:50])
    here = {position: name for position, name in enumerate(checker.names) if name in given}
    shapes = {name: given[name].shape for name in here.values()}
    rows = next(iter(shapes.values()))[0] if next(iter(shapes.values())) else -1
    for name, shape in shapes.items():
        if shape not in ((rows,), (rows, 1)):
            raise bad_request(
                f"inputs.{name}: expected a shape of [n] or [n, 1] with one n for all tensors, got {list(shape)}"
            )
    return {i: _cells(checker, i, given[name], f"inputs.{name}") for i, name in here.items()}, rows


def _cells(checker: Checker, position: int, tensor: Tensor, where: str, matrix: bool = False) -> _Cells:
    column, values = checker.columns[position], tensor.values
    if not _fits(column, tensor.datatype, matrix):
        problem = wrong(None, checker.names[position], _wanted(column, matrix), Words(tensor.datatype), where, "type")
        raise bad_cells([problem])
    if isinstance(values, list):
        words = values
        return _Cells(checker.coded(position, words), lambda row: words[row], where)
    numbers = values

    def seen(row: int) -> Any:
        value = float(numbers[row])
        if value != value:
            return None
        if column.type == "bool" and value in (0.0, 1.0):
            return bool(value)
        return int(value) if not tensor.datatype.startswith("FP") else value

    cells = [None if value != value else value for value in numbers.tolist()] if column.type == "datetime" else numbers
    return _Cells(checker.coded(position, cells), seen, where)


def _fits(column: Column, datatype: str, matrix: bool) -> bool:
    if column.type == "id":
        return datatype != "BOOL"
    if column.type == "datetime" and column.reading.counted is not None:
        return datatype != "BOOL"
    if column.type in ("category", "datetime", "text"):
        return datatype == "BYTES"
    if column.type == "bool":
        return datatype == "BOOL" or (matrix and datatype != "BYTES")
    return datatype not in ("BYTES", "BOOL")


def _wanted(column: Column, matrix: bool) -> str:
    if column.type in ("category", "datetime", "text", "id"):
        together = " in a named tensor of its own" if matrix else ""
        return f"datatype BYTES{together}, {column.expected}"
    return "datatype BOOL" if column.type == "bool" else f"datatype FP64 or another of numbers, {column.expected}"

"""The contract of a model: which columns a row has and what each may hold.

One source for the batch validation of tables, the validation of requests, and the documentation. It lives in
``serving`` because the model server needs it and may import nothing above; the packages above read it from here.

Inside the system a table of rows is one **coded matrix**: float64 of shape (n_rows, n_columns), columns in the order of
the contract; numbers and booleans as they are, a category as its position in ``values``, an unknown category as
``len(values)``, a missing value as NaN.
"""

import codecs
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from serving.durations import LONGEST
from serving.frozen import Frozen

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column", "ColumnType", "Contract", "Dialect", "Frozen", "Matrix", "OutOfRange", "Target", "spellings"]

LISTED_VALUES = 12  # categories a sentence names before it says how many more there are
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
Matrix = npt.NDArray[np.float64]
ColumnType = Literal["float", "int", "bool", "category"]
OutOfRange = Literal["refuse", "clip", "flag"]


def _check_range(given: tuple[float, float] | None, *, whole: bool = False) -> None:
    """Refuse a range that no number, or no *whole* one, is in."""
    if given is not None and not given[0] <= given[1]:
        raise ValueError(f"'range' must be [low, high] with low <= high, seen {list(given)}")
    if given is not None and whole and math.ceil(given[0]) > given[1]:
        raise ValueError(f"'range' must hold a whole number, seen {list(given)}")


class Column(Frozen):
    """One input column.

    Attributes:
        range: inclusive bounds in ``unit``; both batch rows and requests are held to it.
        values: the categories in their fixed order, which is also the order of their codes.
        out_of_range: what a request's value outside of ``range`` meets: a 400, the nearest bound, or a flag in the
            answer and the log. Rows outside never train a model: they are always quarantined.
        unknown: what a category outside of ``values`` meets in a request: a 400, or a flag.
    """

    type: ColumnType
    unit: str = ""
    range: tuple[float, float] | None = None
    values: tuple[str, ...] = ()
    nullable: bool = False
    out_of_range: OutOfRange = "refuse"
    unknown: Literal["refuse", "flag"] = "refuse"
    description: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.type == "category":
            if not self.values:
                raise ValueError("a category column needs 'values', the list of its categories")
            if len(set(self.values)) != len(self.values):
                raise ValueError(f"'values' must be distinct, seen {list(self.values)}")
            if self.range is not None:
                raise ValueError("'range' is for numbers, not for a category column")
        elif self.values:
            raise ValueError(f"'values' is for category columns, not for type {self.type!r}")
        if self.range is not None and self.type == "bool":
            raise ValueError("'range' is for numbers, not for type 'bool'")
        _check_range(self.range, whole=self.type == "int")
        return self

    @property
    def numeric(self) -> bool:
        return self.type in ("float", "int")

    @property
    def expected(self) -> str:
        """The phrase error messages use: 'a number in [10, 1500] m2', 'one of house, flat'."""
        if self.type == "category":
            more = f" and {len(self.values) - LISTED_VALUES:,} more" if len(self.values) > LISTED_VALUES else ""
            return "one of " + ", ".join(self.values[:LISTED_VALUES]) + more
        if self.type == "bool":
            return "true or false"
        noun = "a whole number" if self.type == "int" else "a number"
        bounds = "" if self.range is None else f" in [{self.range[0]:g}, {self.range[1]:g}]"
        return noun + bounds + (f" {self.unit}" if self.unit else "")


class Target(Frozen):
    """The column to predict: a number (regression) or one of ``classes`` (classification).

    ``classes`` are ordered; for two of them the second is the positive one.
    """

    name: str
    unit: str = ""
    range: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.classes and (len(self.classes) < 2 or len(set(self.classes)) != len(self.classes)):
            raise ValueError(f"'classes' needs at least two distinct names, seen {list(self.classes)}")
        if self.classes and self.range is not None:
            raise ValueError("'range' is for a target of numbers, not for one of classes")
        _check_range(self.range)
        return self

    @property
    def task(self) -> Literal["regression", "classification"]:
        return "classification" if self.classes else "regression"

    @property
    def labels(self) -> tuple[str, ...] | tuple[int, ...]:
        """The classes as answers say them: where all are whole numbers, as numbers."""
        whole = all(_WHOLE.fullmatch(name) and abs(int(name)) < 1 << 63 for name in self.classes)
        return tuple(map(int, self.classes)) if whole else self.classes


def spellings(values: Sequence[str]) -> dict[str, str]:
    """Other texts for one of *values*: 1.0 for 1, as pandas exports whole numbers of a column with gaps."""
    whole = [word for word in values if word.removeprefix("-").isdecimal()]
    return {f"{word}.0": word for word in whole if f"{word}.0" not in values}


# One character of ASCII that ends no line.
Mark = Annotated[str, Field(pattern=r"\A[\x01-\x09\x0b\x0c\x0e-\x7f]\z")]


class Dialect(Frozen):
    """How CSV files are written; what is left open is found in each file.

    Attributes:
        separator: the one character between two cells.
        decimal: what stands before the decimals of a number; with ``,`` a point groups thousands.
        quote: what encloses a cell that holds a separator, a quote (doubled) or a line's end.
    """

    separator: Mark | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    quote: Mark = '"'

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            b"a".decode(value or "utf-8", "ignore")  # which is no text by base64, and by idna no half of one is
            return value if value is None else codecs.lookup(value).name
        except (LookupError, UnicodeError):
            raise ValueError("expected the name of an encoding such as utf-8, cp1252 or utf-16") from None

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if self.separator == self.quote:
            raise ValueError(f"'separator' and 'quote' must differ, seen {self.quote!r} for both")
        return self


class Contract(Frozen):
    """Columns, target, key and event time of one table.

    Attributes:
        key: column that identifies the thing a row is about; no key stands on both sides of a split.
        event_time: column with the moment the row describes.
        refuse_above: share of bad rows, 0..1, above which a run stops.
        max_age_days: the newest event may be at most this old, seen from the run's ``as_of``; None: not checked.
    """

    columns: Annotated[dict[str, Column], Field(min_length=1)]
    target: Target
    key: str | None = None
    event_time: str | None = None
    refuse_above: Annotated[float, Field(ge=0, le=1)] = 0.02
    max_age_days: Annotated[float, Field(gt=0, le=LONGEST / 86_400)] | None = None
    csv: Dialect = Dialect()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for role, name in (("target", self.target.name), ("key", self.key), ("event_time", self.event_time)):
            if name in self.columns:
                raise ValueError(f"column {name!r} is the {role} and cannot be an input column too")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """The contract in the JSON file at *path*."""
        return cls.model_validate_json(path.read_bytes())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @property
    def task(self) -> Literal["regression", "classification"]:
        return self.target.task

    def encode(self, table: "pd.DataFrame | Mapping[str, Sequence[Any]]") -> Matrix:
        """The coded matrix of *table*'s contract columns; for tables that were validated already."""
        import pandas as pd  # a server that never sees a table starts without it

        frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table)
        matrix = np.empty((len(frame), len(self.columns)), dtype=np.float64)
        for position, (name, column) in enumerate(self.columns.items()):
            series = frame[name]
            if column.type == "category":
                codes = {value: float(code) for code, value in enumerate(column.values)}
                known = series.map(codes).to_numpy(dtype=np.float64, na_value=np.nan)
                matrix[:, position] = np.where(np.isnan(known) & series.notna().to_numpy(), len(column.values), known)
            else:
                matrix[:, position] = pd.to_numeric(series).to_numpy(dtype=np.float64, na_value=np.nan)
        return matrix

    def frame(self, matrix: Matrix) -> "pd.DataFrame":
        """The table scikit-learn sees: float64 numbers with NaN, categories as object strings with None.

        An unknown category comes back as the text ``"?"`` which is no member of ``values``.
        """
        import pandas as pd  # as above

        table: dict[str, Any] = {}
        for position, (name, column) in enumerate(self.columns.items()):
            values = matrix[:, position]
            if column.type == "category":
                words = np.array([*column.values, "?", None], dtype=object)
                codes = np.where(np.isnan(values), len(column.values) + 1, values).astype(np.intp)
                table[name] = words[codes]
            else:
                table[name] = values
        return pd.DataFrame(table, columns=list(self.columns))

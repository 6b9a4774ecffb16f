"""The contract of a model: which columns a row has and what each may hold.

One source for the batch validation of tables, the validation of requests, and the documentation. It lives in
``serving`` because the model server needs it and may import nothing above; the packages above read it from here.

Inside the system a table of rows is one **coded matrix**: float64 of shape (n_rows, n_slots), columns in the order of
``Contract.slots``; numbers and booleans as they are, a category as its position in ``values``, an unknown category as
``len(values)``, a moment as seconds since 1970-01-01T00:00Z, a missing value as NaN.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from serving.columns import moments
from serving.columns.coding import coder
from serving.columns.column import Column, ColumnType, OutOfRange, as_texts, check_range, spellings
from serving.columns.dialect import Dialect
from serving.durations import LONGEST
from serving.frozen import Frozen

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Assembled", "Column", "ColumnType", "Contract", "Dialect", "Frozen", "Matrix", "OutOfRange", "Target"]
__all__ += ["spellings"]

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
Matrix = npt.NDArray[np.float64]


class Target(Frozen):
    """The column to predict: a number (regression) or one of ``classes`` (classification).

    ``classes`` are ordered; for two of them the second is the positive one.

    Attributes:
        name: of the column.
        unit: of its numbers, for people.
        range: inclusive bounds; rows outside never train a model.
        classes: the words that it may hold, which makes it a classification.
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
        check_range(self.range)
        return self

    @property
    def task(self) -> Literal["regression", "classification"]:
        return "classification" if self.classes else "regression"

    @property
    def labels(self) -> tuple[str, ...] | tuple[int, ...]:
        """The classes as answers say them: where all are whole numbers, as numbers."""
        whole = all(_WHOLE.fullmatch(name) and abs(int(name)) < 1 << 63 for name in self.classes)
        return tuple(map(int, self.classes)) if whole else self.classes


class Assembled(Frozen):
    """An event time that no column of the table is as it stands.

    Attributes:
        columns: whose cells, with a blank between each, are the text of the moment: the event time itself, or several,
            such as a date and an hour.
        format: of that text, as a column of type datetime has it; by default ISO 8601, of a date and an hour too, and
            of three columns or more year, month, day, hour, minute and second as far as there are columns.
        zone: of moments that state none.
    """

    columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=6)]
    format: tuple[str, ...] = ()
    zone: str = "UTC"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        moments.check(self.format)
        moments.zone_of(self.zone)
        return self

    @property
    def column(self) -> Column:
        """The type of the text."""
        parts = " ".join(("%Y", "%m", "%d", "%H", "%M", "%S")[: len(self.columns)])
        usual = {1: (), 2: ("%Y-%m-%d %H",)}.get(len(self.columns), (parts,))
        return Column(type="datetime", format=self.format or usual, zone=self.zone)


class Contract(Frozen):
    """Columns, target, key and event time of one table.

    Attributes:
        columns: what a request brings; a model computes with all but ids.
        target: column to predict.
        csv: how CSV files are written.
        key: column that identifies the thing a row is about; no key stands on both sides of a split.
        event_time: column with the moment the row describes; one of ``columns`` if a request brings it too. In a
            project also ``{name: at, from: [date, hour], format: ..., zone: ...}``.
        assembled: what a table has instead of the column ``event_time``.
        null_values: texts that mean an empty cell in every column.
        refuse_above: share of bad rows, 0..1, above which a run stops; also of the newest rows alone, where chance does
            not explain it.
        newest: share of the rows, by event time, that are the newest.
        duplicates: what becomes of rows that are there already: ``drop`` keeps one of equal ones, ``refuse`` sets the
            others aside as bad, ``keep`` leaves all. By default those of one key at one event time are refused, and
            where a table has not both, dropped. Rows of one key and event time that differ are bad unless kept.
        max_age_days: the newest event may be at most this old, seen from the run's ``as_of``; None: not checked.
    """

    columns: Annotated[dict[str, Column], Field(min_length=1)]
    target: Target
    key: str | None = None
    event_time: str | None = None
    assembled: Assembled | None = None
    null_values: tuple[str, ...] = ()
    refuse_above: Annotated[float, Field(ge=0, le=1)] = 0.02
    newest: Annotated[float, Field(gt=0, le=1)] = 0.05
    duplicates: Literal["refuse", "drop", "keep"] | None = None
    max_age_days: Annotated[float, Field(gt=0, le=LONGEST / 86_400)] | None = None
    csv: Dialect = Dialect()

    @field_validator("null_values", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return as_texts(value)

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, value: Any) -> Any:
        """``event_time`` as a mapping is its name, and from what it is assembled."""
        if not isinstance(value, Mapping) or not isinstance(given := value.get("event_time"), Mapping):
            return value
        known = ("name", "from", "format", "zone")
        if (odd := [key for key in given if key not in known]) or "name" not in given:
            seen = f"unknown key {odd[0]!r}" if odd else "no 'name'"
            raise ValueError(f"'event_time' knows {', '.join(known)} and needs its name; seen {seen}")
        form = given.get("format", ())
        rest = {"columns": given.get("from", (given["name"],)), "format": (form,) if isinstance(form, str) else form}
        zone = {"zone": given["zone"]} if "zone" in given else {}
        return {**value, "event_time": given["name"], "assembled": {**rest, **zone}}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for role, name in (("target", self.target.name), ("key", self.key), ("event_time", self.event_time)):
            kinds = {"key": ("id",), "event_time": ("datetime",)}.get(role, ())
            if name in self.columns and self.columns[name].type not in kinds:
                also = f" unless of type {kinds[0]}" if kinds else ""
                raise ValueError(f"column {name!r} is the {role} and cannot be an input column too{also}")
        if self.assembled is not None and self.event_time in self.columns:
            raise ValueError(f"{self.event_time!r} is one of 'columns', which say its format and zone themselves")
        if not self.slots:
            raise ValueError("'columns' needs one that is no id, since a model computes with none of these")
        if len(self.slots) < sum(len(column.slots(name)) for name, column in self.columns.items()):
            raise ValueError("'columns' has a name that a feature of a text has too")
        if self.null_values:
            self.__dict__["columns"] = {name: _with_nulls(one, self.null_values) for name, one in self.columns.items()}
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """The contract in the JSON file at *path*."""
        return cls.model_validate_json(path.read_bytes())

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may bring, ids too."""
        return tuple(self.columns)

    @property
    def inputs(self) -> dict[str, Column]:
        """The columns that a request has to bring: all but ids."""
        return {name: column for name, column in self.columns.items() if column.type != "id"}

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that go along with a row and come back with its answer."""
        return tuple(name for name, column in self.columns.items() if column.type == "id")

    @property
    def slots(self) -> dict[str, Column]:
        """The columns of the coded matrix, in its order."""
        return {slot: one for name, column in self.columns.items() for slot, one in column.slots(name).items()}

    @property
    def task(self) -> Literal["regression", "classification"]:
        return self.target.task

    @property
    def event(self) -> Column:
        """How the event time is read where it stands in a table."""
        if self.event_time in self.columns:
            return self.columns[str(self.event_time)]
        return Column(type="datetime", null_values=self.null_values)

    @property
    def truth(self) -> Column:
        """The target as a column, which is held to its range or classes like any other."""
        target = self.target
        if target.classes:
            return Column(type="category", values=target.classes, null_values=self.null_values)
        return Column(type="float", unit=target.unit, range=target.range, null_values=self.null_values)

    def learned(self, words: Mapping[str, Mapping[str, int]]) -> Self:
        """The contract of a model whose training rows have these *words*: by column how many rows have each."""
        columns = {**self.columns, **{name: self.columns[name].learned(counts) for name, counts in words.items()}}
        return type(self).model_validate({**dict(self), "columns": columns})

    def encode(self, table: "pd.DataFrame | Mapping[str, Sequence[Any]]") -> Matrix:
        """The coded matrix of *table*'s contract columns; for tables that were validated already."""
        import pandas as pd  # a server that never sees a table starts without it

        frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(table)
        matrix, at = np.empty((len(frame), len(self.slots)), dtype=np.float64), 0
        for name, column in self.inputs.items():
            code, width = coder(column), len(column.slots(name))
            cells = frame[name].astype(object).where(frame[name].notna(), None)
            matrix[:, at : at + width] = np.array([code(cell) for cell in cells]).reshape(-1, width)
            at += width
        return matrix

    def frame(self, matrix: Matrix) -> "pd.DataFrame":
        """The table scikit-learn sees: float64 numbers with NaN, categories as object strings with None.

        An unknown category comes back as the text ``"?"`` which is no member of ``values``, a moment as its seconds.
        """
        import pandas as pd  # as above

        table: dict[str, Any] = {}
        for position, (name, column) in enumerate(self.slots.items()):
            values = matrix[:, position]
            if column.type == "category":
                words = np.array([*column.values, "?", None], dtype=object)
                codes = np.where(np.isnan(values), len(column.values) + 1, values).astype(np.intp)
                table[name] = words[codes]
            else:
                table[name] = values
        return pd.DataFrame(table, columns=list(self.slots))


def _with_nulls(column: Column, words: tuple[str, ...]) -> Column:
    together = tuple(dict.fromkeys((*column.null_values, *words)))
    return column if column.type == "id" else column.model_copy(update={"null_values": together})

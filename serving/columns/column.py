"""One input column of a contract: its type, what its cells may hold, and the slots that it fills.

A column is what a table and a request bring. Its **slots** are the columns of the coded matrix that it becomes: itself
for numbers, booleans, categories and moments; one number for each feature of a text; none for an id.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from serving.columns import moments
from serving.columns.moments import BLANKS, MomentReader
from serving.columns.texts import features
from serving.frozen import Frozen

LISTED_VALUES = 12  # categories a sentence names before it says how many more there are
NONE_SEEN = "(none in training)"  # the category of an open column that was empty in all training rows
MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""What exports write for nothing, wherever it is no value of a column."""
MOST_SLOTS = 4_096  # of one text
ColumnType = Literal["float", "int", "bool", "category", "datetime", "text", "id"]
OutOfRange = Literal["refuse", "clip", "flag"]
Hash = dict[Literal["hash"], Annotated[int, Field(ge=1, le=MOST_SLOTS)]]
Feature = Literal["length", "words", "digits", "capitals"] | Hash
OF_TYPE = {
    "range": ("float", "int"),
    "values": ("category",),
    "unknown": ("category",),
    "min_count": ("category",),
    "max_values": ("category",),
    "strip": ("category",),
    "format": ("datetime",),
    "zone": ("datetime",),
    "features": ("text",),
    "null_values": ("float", "int", "bool", "category", "datetime", "text"),
}
"""The keys that not every type has."""


def check_range(given: tuple[float, float] | None, *, whole: bool = False) -> None:
    """Refuse a range that no number, or no *whole* one, is in."""
    if given is not None and not given[0] <= given[1]:
        raise ValueError(f"'range' must be [low, high] with low <= high, seen {list(given)}")
    if given is not None and whole and math.ceil(given[0]) > given[1]:
        raise ValueError(f"'range' must hold a whole number, seen {list(given)}")


def as_texts(value: Any) -> Any:
    """Null words as texts; a number is one, as people write 999 and mean the cell."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in value)


class Column(Frozen):
    """One input column.

    Attributes:
        type: what it holds.
        unit: of its numbers, for people.
        min_count, max_values: of an open category, see ``values``.
        description: for people.
        range: inclusive bounds in ``unit``; both batch rows and requests are held to it.
        values: the categories in their fixed order, which is also the order of their codes; left out, the category is
            open: training learns those that at least ``min_count`` of its rows have, the ``max_values`` most frequent.
        nullable: whether a cell may be empty; an id may always be.
        out_of_range: what a request's value outside of ``range`` meets: a 400, the nearest bound, or a flag in the
            answer and the log. Rows outside never train a model: they are always quarantined.
        unknown: what a category outside of ``values`` meets in a request: a 400, a flag, or nothing: ``other`` takes
            all of them for one category more, in training rows too, and is what an open category becomes.
        strip: whether blanks around a category are none of it, unless a value has some.
        format: of a moment, one or several; see ``serving.columns.moments``.
        zone: of moments that state none.
        features: what a text becomes: its ``length``, ``words``, ``digits``, ``capitals``, and by ``{hash: N}`` how
            many of its words fall into each of N buckets.
        null_values: texts that mean an empty cell, besides those that always do; of a number also written otherwise.
    """

    type: ColumnType
    unit: str = ""
    range: tuple[float, float] | None = None
    values: tuple[str, ...] = ()
    nullable: bool = False
    out_of_range: OutOfRange = "refuse"
    unknown: Literal["refuse", "flag", "other"] = "refuse"
    min_count: Annotated[int, Field(ge=1)] = 10
    max_values: Annotated[int, Field(ge=1, le=65_535)] = 255
    strip: bool = True
    format: tuple[str, ...] = ()
    zone: str = "UTC"
    features: Annotated[tuple[Feature, ...], Field(min_length=1)] = ("length", "words")
    null_values: tuple[str, ...] = ()
    description: str = ""

    @field_validator("format", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("null_values", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return as_texts(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, types in OF_TYPE.items():
            if self.type not in types and getattr(self, key) != type(self).model_fields[key].default:
                noun = {"float": "numbers", "int": "", "category": "category columns"}
                whom = " and ".join(filter(None, (noun.get(one, f"type {one!r}") for one in types)))
                raise ValueError(f"{key!r} is for {whom}, not for type {self.type!r}")
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"'values' must be distinct, seen {list(self.values)}")
        check_range(self.range, whole=self.type == "int")
        moments.check(self.format)
        moments.zone_of(self.zone)
        if len(set(map(str, self.features))) < len(self.features):
            raise ValueError(f"'features' must be distinct, seen {list(self.features)}")
        return self

    @property
    def numeric(self) -> bool:
        return self.type in ("float", "int")

    @property
    def open(self) -> bool:
        """Whether its categories are not known before training."""
        return self.type == "category" and not self.values

    @property
    def closed(self) -> bool:
        """Whether a category outside of ``values`` is wrong."""
        return self.type == "category" and bool(self.values) and self.unknown != "other"

    @property
    def reading(self) -> MomentReader:
        """How its moments are read."""
        return moments.reading(self.format, self.zone)

    @property
    def trimmed(self) -> bool:
        """Whether blanks around a category are none of it."""
        return self.strip and all(word == word.strip(BLANKS) for word in self.values)

    @property
    def null_words(self) -> tuple[str, ...]:
        """The texts that mean an empty cell; none of them is one of ``values``."""
        return tuple(word for word in dict.fromkeys((*MISSING_WORDS, *self.null_values)) if word not in self.values)

    @property
    def null_numbers(self) -> tuple[float, ...]:
        """The numbers that mean an empty cell."""
        return tuple(number for number in map(_number, self.null_values) if number is not None) if self.numeric else ()

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest code that is as the contract says; of a text, of each of its slots."""
        if self.type == "category":
            return 0.0, len(self.values) - (1.0 if self.closed else 0.0)
        if self.type == "bool":
            return 0.0, 1.0
        return self.range or (-sys.float_info.max, sys.float_info.max)

    def slots(self, name: str) -> "dict[str, Column]":
        """The columns of the coded matrix that it becomes where it is called *name*."""
        if self.type == "id":
            return {}
        if self.type == "text":
            number = Column(type="int", nullable=self.nullable, description=self.description)
            return {f"{name}.{feature}": number for feature, _ in features(self.features)}
        return {name: self}

    def learned(self, counts: Mapping[str, int]) -> "Column":
        """An open category with the words of training rows, given how many rows have each; others as they are.

        Where no row has any, as where a column begins after them, one that no row has either stands for them.
        """
        if not self.open:
            return self
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        often = [word for word in ranked if counts[word] >= self.min_count][: self.max_values]
        values = tuple(sorted(often or ranked[:1])) or (NONE_SEEN,)
        return self.model_copy(update={"values": values, "unknown": "other"})

    @property
    def expected(self) -> str:
        """The phrase error messages use: 'a number in [10, 1500] m2', 'one of house, flat'."""
        if self.type == "category":
            return self._categories
        if self.type == "datetime":
            samples = [f"{moments.sample(form)} ({form})" for form in self.format]
            return "a date or time such as " + " or ".join(samples or ["2014-03-25T14:05:09"])
        if self.type in ("bool", "text", "id"):
            return {"bool": "true or false", "text": "a text", "id": "a text or a number"}[self.type]
        noun = "a whole number" if self.type == "int" else "a number"
        bounds = "" if self.range is None else f" in [{self.range[0]:g}, {self.range[1]:g}]"
        return noun + bounds + (f" {self.unit}" if self.unit else "")

    @property
    def _categories(self) -> str:
        more = f" and {len(self.values) - LISTED_VALUES:,} more" if len(self.values) > LISTED_VALUES else ""
        listed = ", ".join(self.values[:LISTED_VALUES]) + more
        return f"one of {listed}" if self.closed else f"a text such as {listed}" if listed else "a text"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def spellings(values: Sequence[str]) -> dict[str, str]:
    """Other texts for one of *values*: 1.0 for 1, as pandas exports whole numbers of a column with gaps."""
    whole = [word for word in values if word.removeprefix("-").isdecimal()]
    return {f"{word}.0": word for word in whole if f"{word}.0" not in values}

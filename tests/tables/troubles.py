"""Ninety troubles, nine planted into each of the ten tables: what was done, and what ought to be said of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tests.tables.made import TABLES, Made, Rng, made

NUMBERS = {  # a column of positive numbers of each table, and its event time or ""
    "rentals": ("windspeed", "datetime"),
    "sales": ("sqft_lot", "date"),
    "homes": ("Gr Liv Area", ""),
    "campaign": ("age", ""),
    "rides": ("distance", "pickup"),
    "air": ("PRES", "year"),
    "wine": ("density", ""),
    "passengers": ("Age", ""),
    "incomes": ("hours_per_week", ""),
    "clinic": ("haemoglobin", "admitted"),
}
TIMED = ("rentals", "sales", "rides", "clinic")


@dataclass(frozen=True)
class Trouble:
    """One planted thing.

    Attributes:
        words: what was done.
        kinds: any of which names it rightly, of *column* where one is meant.
    """

    table: str
    words: str
    kinds: tuple[str, ...]
    column: str
    made: Made


def planted(name: str, seed: int = 0) -> Iterator[Trouble]:
    """The nine troubles of the table *name*."""
    rng = np.random.default_rng(seed + 11)
    plants = [_transformed, _late, _sentinel, _repeated, _identifier, _copied, _of_text, _units]
    plants.append(_dates if name in TIMED else _constant if name in ("homes", "air", "wine") else _together)
    for plant in plants:
        yield plant(made(name, seed), rng)


def troubles() -> Iterator[Trouble]:
    """All of them."""
    for name in TABLES:
        yield from planted(name)


def clean(name: str, seed: int) -> Made:
    """A table as it is without a trouble; the dust without hours in which nothing was measured."""
    table = made(name, seed)
    return table.changed(table.frame.drop_nulls(table.target))


def _target(table: Made) -> np.ndarray:
    """(n_rows,) the target as numbers; classes as the place of the word."""
    series = table.frame[table.target]
    if series.dtype == pl.String:
        words = sorted(series.unique())
        return np.array([float(words.index(word)) for word in series])
    return series.cast(pl.Float64).fill_null(series.cast(pl.Float64).mean()).to_numpy()


def _with(table: Made, name: str, values: object) -> Made:
    """The *table* with a column more, before the target."""
    place = table.frame.columns.index(table.target)
    return table.changed(table.frame.insert_column(place, pl.Series(name, values)))


def _transformed(table: Made, rng: Rng) -> Trouble:
    """The answer through a curve, or as other words."""
    target = _target(table)
    if len(np.unique(target)) <= 10:
        values = target * 7 + 3 + rng.normal(0, 0.4, len(target)).clip(-1, 1)
    else:
        values = np.log1p(np.clip(target, 0, None)) ** 2 * rng.lognormal(0, 0.002, len(target))
    return Trouble(table.name, "the answer through a curve", ("leak",), "index_value",
                   _with(table, "index_value", values.round(6)))  # fmt: skip


def _late(table: Made, rng: Rng) -> Trouble:
    """A moment after the event, or what is only written down when all is over."""
    event = NUMBERS[table.name][1]
    rows = table.frame.height
    if table.name in ("rentals", "rides"):
        frame = table.frame.with_columns(
            (pl.col(event).str.to_datetime() + pl.duration(minutes=pl.lit(pl.Series(rng.integers(5, 3_000, rows)))))
            .dt.to_string("%Y-%m-%d %H:%M:%S").alias("written_at")
        )  # fmt: skip
        words, column = "a moment after the event", "written_at"
        return Trouble(table.name, words, ("known afterwards",), column, table.changed(frame))
    target = _target(table)
    noise = (target - target.mean()) / (target.std() or 1) + rng.normal(0, 1.5, rows)
    later = _with(table, "days_until_closed", (noise * 5 + 40).round(2))
    kinds = ("known afterwards", "leak")
    return Trouble(table.name, "a figure that is written when all is over", kinds, "days_until_closed", later)


def _sentinel(table: Made, rng: Rng) -> Trouble:
    """A number that stands for nothing in three rows of a hundred."""
    name = NUMBERS[table.name][0]
    values = table.frame[name].cast(pl.Float64)
    word = 9999.0 if float(values.max()) < 3_000 else -1.0
    lost = rng.random(len(values)) < 0.03
    frame = table.frame.with_columns(pl.Series(name, np.where(lost, word, values.to_numpy())))
    return Trouble(table.name, f"{word:g} where {name} is not known", ("sentinel",), name, table.changed(frame))


def _repeated(table: Made, rng: Rng) -> Trouble:
    """A month that was exported twice, or a tenth of the rows again."""
    frame = table.frame
    if NUMBERS[table.name][1]:
        start = int(frame.height * 0.6)
        again = frame[start : start + frame.height // 10]
        words, kinds = "a month exported twice", ["repeated period", "repeated rows"]
    else:
        again, words, kinds = frame.sample(frame.height // 10, seed=3), "a tenth of the rows again", ["repeated rows"]
    return Trouble(table.name, words, tuple(kinds), "", table.changed(pl.concat([frame, again])))


def _identifier(table: Made, rng: Rng) -> Trouble:
    """A number for each row that somebody's system made up."""
    rows = table.frame.height
    values = [f"{n:08x}" for n in rng.permutation(rows * 16)[:rows]]
    return Trouble(table.name, "a code of the export for each row", ("identifier",), "export_ref",
                   _with(table, "export_ref", values))  # fmt: skip


def _copied(table: Made, rng: Rng) -> Trouble:
    """One column once more, in another unit."""
    name = NUMBERS[table.name][0]
    values = table.frame[name].cast(pl.Float64) * 0.3048 + 1.5
    return Trouble(table.name, f"{name} once more in another unit", ("duplicate column",), f"{name}_b",
                   _with(table, f"{name}_b", values))  # fmt: skip


def _of_text(table: Made, rng: Rng) -> Trouble:
    """Numbers with their unit beside them."""
    values = [f"{n:.1f} kg" for n in rng.gamma(9, 8, table.frame.height)]
    return Trouble(table.name, "numbers with their unit in each cell", ("numbers as text",), "weight",
                   _with(table, "weight", values))  # fmt: skip


def _units(table: Made, rng: Rng) -> Trouble:
    """Another unit from some day on, or in some rows."""
    name = NUMBERS[table.name][0]
    values = table.frame[name].cast(pl.Float64).to_numpy().copy()
    if NUMBERS[table.name][1]:
        late = np.arange(len(values)) >= 0.7 * len(values)
        words, kinds = f"{name} a thousand times as large from some day on", ["unit change", "mixed units"]
    else:
        late = rng.random(len(values)) < 0.06
        words, kinds = f"{name} a thousand times as large in some rows", ["mixed units", "unit change", "far out"]
    values[late] *= 1000
    frame = table.frame.with_columns(pl.Series(name, values).round(6))
    return Trouble(table.name, words, tuple(kinds), name, table.changed(frame))


def _dates(table: Made, rng: Rng) -> Trouble:
    """Some rows with their date in another form, as a second system writes it."""
    name = NUMBERS[table.name][1]
    texts = table.frame[name].to_list()
    form = {"rentals": "%Y-%m-%d %H:%M:%S", "rides": "%Y-%m-%d %H:%M:%S", "sales": "%m/%d/%Y", "clinic": "%d.%m.%Y"}
    other = {"rentals": "%d.%m.%Y %H:%M:%S", "rides": "%d.%m.%Y %H:%M:%S", "sales": "%Y-%m-%d", "clinic": "%Y/%m/%d"}
    moved = pl.Series(texts).str.to_datetime(form[table.name]).dt.to_string(other[table.name]).to_list()
    some = rng.random(len(texts)) < 0.08
    mixed = [b if one else a for one, a, b in zip(some, texts, moved, strict=True)]
    return Trouble(table.name, "some dates in another form", ("two date formats",), name,
                   table.changed(table.frame.with_columns(pl.Series(name, mixed))))  # fmt: skip


def _constant(table: Made, rng: Rng) -> Trouble:
    """A column that says one thing."""
    return Trouble(table.name, "a column that says one thing", ("constant",), "source",
                   _with(table, "source", ["crm"] * table.frame.height))  # fmt: skip


def _together(table: Made, rng: Rng) -> Trouble:
    """A class of which there are three rows."""
    words = table.frame[table.target].cast(pl.String).to_list()
    for row in rng.choice(len(words), 5, replace=False):
        words[row] = "other"
    frame = table.frame.with_columns(pl.Series(table.target, words))
    return Trouble(table.name, "a class of five rows", ("tiny class",), table.target, table.changed(frame))

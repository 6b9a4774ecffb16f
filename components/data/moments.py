"""When things happened: every form of a moment that tables hold, as naive UTC microseconds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.data.words import MOMENT, spelled
from serving.columns.moments import (
    BLANKS,
    EPOCHS,
    HIGHEST,
    LOWEST,
    MomentReader,
    century,
    civil,
    fraction,
    hour_of,
    month_of,
    of_year,
    offset_of,
    offset_us,
    reading,
)
from serving.contract import Assembled, Column, Contract
from serving.durations import parse
from serving.errors import ConfigError, DataError

TYPE = pl.Datetime("us")
ANY = Column(type="datetime")
HOUR = 3_600_000_000  # microseconds
LOOKED_AT = 1_000  # texts that show which formats do not fit
Micros = npt.NDArray[np.int64]
# What most tables hold has forms of fixed width, which polars reads six times as fast.
FIXED_FORMATS = (
    "%Y-%m-%dT%H:%M:%S.%6f",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%6f",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
)

# Formats that tables are written in, for a hint.
DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%d %b %Y", "%d-%b-%Y",
        "%b %d, %Y", "%b %d %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y")  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S", " %H")
COMMON = (*(day + clock for clock in CLOCKS for day in DAYS), "%Y-%m-%d %H", "%Y%m%d%H%M%S", "epoch_s", "epoch_ms")


def naive(moment: datetime) -> datetime:
    """*moment* in UTC without saying so, as tables hold it; one without a zone is UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def moments(name: str, dtype: Any, column: Column = ANY) -> pl.Expr:
    """The cells of *name*, of polars type *dtype*, as *column* reads them; what is no moment of our era becomes null.

    Raises:
        DataError: the cells are neither moments nor text, nor numbers where these are counts.
    """
    cell, reading = pl.col(name), column.reading
    if dtype == pl.String:
        return cell.map_batches(lambda cells: read(cells, reading), return_dtype=TYPE, is_elementwise=True)
    if dtype.is_numeric() and reading.counted is not None:
        count = cell.cast(pl.Float64, strict=False) * reading.counted
        return _of_our_era(pl.when(count.abs() < 2.0**62).then(count).round(mode="half_to_even").cast(pl.Int64))
    if dtype not in (pl.Null, pl.Date, pl.Datetime):
        raise DataError(
            f"column {name!r} has type {dtype}: expected dates or times; correct the export, or say what the numbers "
            "count (format: epoch_s or epoch_ms)"
        )
    if getattr(dtype, "time_zone", None):
        return _of_our_era(_utc(cell).cast(TYPE).cast(pl.Int64))
    local = _of_our_era(cell.cast(TYPE).cast(pl.Int64))
    if reading.zone == UTC:
        return local
    return local.map_batches(lambda cells: _zoned(cells, reading), return_dtype=TYPE, is_elementwise=True)


def event_of(frame: pl.DataFrame, contract: Contract) -> pl.Series:
    """When the rows of *frame* happened."""
    name = str(contract.event_time)
    return frame.select(moments(name, frame.schema[name], contract.event)).to_series()


def assembled(frame: pl.DataFrame, name: str, made: Assembled) -> pl.DataFrame:
    """*frame* with the event time *name* as it is made of other columns; it stays as it is where one of them is absent.

    What says no moment stays the text that it is, which validation tells.
    """
    schema, column = frame.schema, made.column
    if any(part not in schema for part in made.columns):
        return frame
    if len(made.columns) == 1 and schema[made.columns[0]] != pl.String:
        part = made.columns[0]
        return frame.with_columns(moments(part, schema[part], column).alias(name))
    text = frame.select(pl.concat_str([_part(part, schema[part]) for part in made.columns], separator=" ")).to_series()
    told = read(text, column.reading).dt.to_string(MOMENT)
    return frame.with_columns(told.fill_null(text).alias(name))


def _part(name: str, dtype: Any) -> pl.Expr:
    """The text of one of several columns, of which one may hold days as moments of midnight."""
    return spelled(
        pl.col(name).dt.date() if dtype == pl.Datetime else pl.col(name), pl.Date() if dtype == pl.Datetime else dtype
    )


def within(moment: pl.Expr, as_of: datetime, length: timedelta) -> pl.Expr:
    """Whether *moment* lies in the *length* of time that ends at *as_of*, both ends included; what is null does not."""
    return moment.is_between(naive(as_of - length), naive(as_of)).fill_null(value=False)


class Recent:
    """The rows of a table's chunks whose event lies in the *length* of time that ends at *as_of*, both ends included.

    Attributes:
        unreadable: rows so far without a moment: they are in no window.
    """

    def __init__(self, contract: Contract, as_of: datetime, length: str) -> None:
        self._contract, self._as_of = contract, as_of
        self.length, self.unreadable = length, 0

    def __call__(self, chunk: pl.DataFrame) -> pl.DataFrame:
        if self._contract.event_time is None or self._contract.event_time not in chunk.columns:
            raise ConfigError(
                f"a window of {self.length} needs the moment of each row, and the table has none; name it as "
                "contract.event_time"
            )
        event = event_of(chunk, self._contract)
        self.unreadable += event.null_count()
        return chunk.filter(within(pl.lit(event), self._as_of, parse(self.length)))


def moment(as_of: str) -> datetime:
    """The end of the day *as_of* (``2026-11-24``) or the moment in it, in UTC."""
    stated = datetime.fromisoformat(as_of)
    if len(as_of) == len("2026-11-24"):
        stated = stated.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)


def read(cells: pl.Series, reading: MomentReader) -> pl.Series:
    """The moments of texts; a form is only tried on cells that those before did not read."""
    found = pl.Series(cells.name, [None], TYPE).new_from_index(0, len(cells))
    left = cells.is_not_null().arg_true()
    for form, expression in reading.forms:
        for read_some in (_usual, _matched) if form == "iso" else (_matched,):
            if len(left):
                told = read_some(cells.gather(left), form, expression, reading)
                found, left = found.scatter(left, told), left.filter(told.is_null())
    return found


def fitting(cells: pl.Series, zone: str = "UTC") -> tuple[str, ...]:
    """Those of the formats that people write which read all *cells* with something in them; ISO needs none."""
    some = cells.drop_nulls().str.strip_chars(BLANKS)
    some = some.filter(some != "").unique()
    if not len(some):
        return ()
    every = [reading((form,), zone) for form in COMMON]
    likely = [one for one in every if _fits(some.head(LOOKED_AT), one)]
    return tuple(one.formats[0] for one in likely if _fits(some, one))


def _fits(texts: pl.Series, one: MomentReader) -> bool:
    """Whether a form reads all *texts*, as moments that people write about."""
    told, first = _matched(texts, *one.forms[0], one), 1975 if one.counted else 1900
    return not told.null_count() and bool(told.dt.year().is_between(first, 2100).all())


def _usual(text: pl.Series, _form: str, expression: str, reading: MomentReader) -> pl.Series:
    """Those of ISO's texts that are in the forms which polars itself reads fast."""
    found = pl.Series(text.name, [None], TYPE).new_from_index(0, len(text))
    left = text.str.contains(expression).arg_true()
    for form in FIXED_FORMATS:
        if len(left):
            told = text.gather(left).str.to_datetime(form, strict=False, time_unit="us", cache=False)
            found, left = found.scatter(left, told), left.filter(told.is_null())
    return _zoned(found, reading)


def _matched(text: pl.Series, form: str, expression: str, reading: MomentReader) -> pl.Series:
    """What the *expression* of a form finds in texts, computed as a server computes it of one."""
    groups = text.to_frame("t").select(pl.col("t").str.extract_groups(expression)).unnest("t")
    here = groups.select(pl.any_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    if form in EPOCHS:
        count = groups["e"].cast(pl.Float64).fill_null(0.0).to_numpy() * EPOCHS[form]
        here = here & (np.abs(count) < 2.0**62)
        return _series(np.rint(np.where(here, count, 0.0)).astype(np.int64), here)
    parts = _parts(groups)
    local, fine = civil(parts)
    here = here & fine
    stated = _mapped(groups, "z", lambda word: offset_of(word), 0)
    known = _mapped(groups, "z", lambda word: int(offset_of(word) is not None), 1)
    ahead = np.where(_stated(groups, "z"), stated, _ahead(np.where(here, local, 0), reading))
    return _series(local - ahead, here & (known == 1))


def _parts(groups: pl.DataFrame) -> dict[str, Micros]:
    """What the *groups* of a pattern count, as ``serving.columns.moments.numbers`` counts those of one text."""

    def count(name: str, default: int) -> Micros:
        return _mapped(groups, name, int, default)

    found = {name: count(name, 0) for name in "HMS"}
    found["Y"] = count("Y", 0) if "Y" in groups.columns else _mapped(groups, "y", lambda word: century(int(word)), 0)
    found["m"] = _mapped(groups, "b", month_of, 1) if "b" in groups.columns else count("m", 1)
    found["d"] = count("d", 1)
    if "I" in groups.columns:
        found["H"] = hour_of(count("I", 0), _mapped(groups, "p", lambda word: int(word in "pP"), 0))
    if "j" in groups.columns:
        found["m"], found["d"] = of_year(found["Y"], count("j", 0))
    found["f"] = _mapped(groups, "f", fraction, 0)
    return found


def _mapped(groups: pl.DataFrame, name: str, meaning: Callable[[str], int | None], default: int) -> Micros:
    """The numbers that the words of a group mean, each word asked about once; *default* where there is none."""
    if name not in groups.columns:
        return np.full(groups.height, default, np.int64)
    words = groups[name]
    known = {word: meaning(word) or 0 for word in words.drop_nulls().unique()}
    numbers = words.replace_strict(known, default=default, return_dtype=pl.Int64) if known else words.cast(pl.Int64)
    return np.asarray(numbers.fill_null(default).to_numpy(), np.int64)


def _stated(groups: pl.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    return groups[name].is_not_null().to_numpy() if name in groups.columns else np.zeros(groups.height, np.bool_)


def _zoned(local: pl.Series, reading: MomentReader) -> pl.Series:
    """Moments of UTC, given those on the clock of the zone."""
    here = local.is_not_null().to_numpy()
    counts = local.cast(pl.Int64).fill_null(0).to_numpy()
    return _series(counts - _ahead(counts, reading), here)


def _ahead(local: Micros, reading: MomentReader) -> Micros:
    """By how much the zone's clock is ahead of UTC; asked once for each hour in which it does not change."""
    if reading.zone == UTC:
        return np.zeros_like(local)
    clipped = np.clip(local, LOWEST, HIGHEST)
    hours, place = np.unique(clipped // HOUR, return_inverse=True)
    first, last = (
        np.array([offset_us(reading.zone, int(hour) * HOUR + more) for hour in hours], np.int64)
        for more in (0, HOUR - 1)
    )
    found: Micros = first[place]
    for row in np.flatnonzero((first != last)[place]):
        found[row] = offset_us(reading.zone, int(clipped[row]))
    return found


def _series(counts: Micros, here: npt.NDArray[np.bool_]) -> pl.Series:
    """Moments of *counts* of microseconds where they are *here* and in the years 1 to 9999."""
    fine = here & (counts >= LOWEST) & (counts <= HIGHEST)
    return (
        pl.Series(np.where(fine, counts, 0))
        .to_frame("t")
        .select(pl.when(pl.lit(pl.Series(fine))).then(pl.col("t")))
        .to_series()
        .cast(TYPE)
    )


def _of_our_era(counts: pl.Expr) -> pl.Expr:
    """Moments of *counts* of microseconds in the years 1 to 9999, for which Python has dates."""
    return pl.when(counts.is_between(LOWEST, HIGHEST)).then(counts).cast(TYPE)


def _utc(moment: pl.Expr) -> pl.Expr:
    return moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

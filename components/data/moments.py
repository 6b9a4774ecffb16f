"""When things happened: every form of a moment that tables hold, as naive UTC microseconds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from serving.durations import parse
from serving.errors import ConfigError, DataError

TYPE = pl.Datetime("us")
# What most tables hold has forms of fixed width, which polars reads six times as fast.
FIXED_FORMATS = (
    "%Y-%m-%dT%H:%M:%S.%6f",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%6f",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
)
LOCAL_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
OFFSET_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z")


def naive(moment: datetime) -> datetime:
    """*moment* in UTC without saying so, as tables hold it; one without a zone is UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def moments(schema: Any, name: str) -> pl.Expr:
    """The column *name* of a table with polars *schema*; what is no moment of the years 1 to 9999 becomes null.

    Raises:
        DataError: the column holds neither moments nor text.
    """
    column, dtype = pl.col(name), schema[name]
    if dtype == pl.String:
        return _of_our_era(column.map_batches(_read, return_dtype=TYPE, is_elementwise=True))
    if dtype not in (pl.Null, pl.Date, pl.Datetime):
        raise DataError(
            f"column {name!r} has type {dtype}: expected dates or times; correct the export or the column's type in "
            "the contract"
        )
    return _of_our_era((_utc(column) if getattr(dtype, "time_zone", None) else column).cast(TYPE))


def within(moment: pl.Expr, as_of: datetime, length: timedelta) -> pl.Expr:
    """Whether *moment* lies in the *length* of time that ends at *as_of*, both ends included; what is null does not."""
    return moment.is_between(naive(as_of - length), naive(as_of)).fill_null(value=False)


class Recent:
    """The rows of a table's chunks whose event lies in the *length* of time that ends at *as_of*, both ends included.

    Attributes:
        unreadable: rows so far without a moment: they are in no window.
    """

    def __init__(self, event: str | None, as_of: datetime, length: str) -> None:
        self._event, self._as_of = event, as_of
        self.length, self.unreadable = length, 0

    def __call__(self, chunk: pl.DataFrame) -> pl.DataFrame:
        if self._event is None or self._event not in chunk.columns:
            raise ConfigError(
                f"a window of {self.length} needs the moment of each row, and the table has none; name it as "
                "contract.event_time"
            )
        event = chunk.select(moments(chunk.schema, self._event)).to_series()
        self.unreadable += event.null_count()
        return chunk.filter(within(pl.lit(event), self._as_of, parse(self.length)))


def moment(as_of: str) -> datetime:
    """The end of the day *as_of* (``2026-11-24``) or the moment in it, in UTC."""
    stated = datetime.fromisoformat(as_of)
    if len(as_of) == len("2026-11-24"):
        stated = stated.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return stated if stated.tzinfo else stated.replace(tzinfo=UTC)


def _read(cells: pl.Series) -> pl.Series:
    """The moments of *cells*; a form is only tried on cells that those before did not read."""
    usual, *others = (*FIXED_FORMATS, *LOCAL_FORMATS, *OFFSET_FORMATS)
    found = _parsed(cells, usual)
    left = (found.is_null() & cells.is_not_null()).arg_true()
    for form in (usual, *others):
        if not len(left):
            break
        told = _parsed(cells.gather(left).str.strip_chars().str.strip_suffix("Z"), form)
        found, left = found.scatter(left, told), left.filter(told.is_null())
    return found


def _parsed(text: pl.Series, form: str) -> pl.Series:
    moment = pl.col(text.name).str.to_datetime(form, strict=False, time_unit="us", cache=form not in FIXED_FORMATS)
    return text.to_frame().select(_utc(moment) if form in OFFSET_FORMATS else moment).to_series()


def _of_our_era(moment: pl.Expr) -> pl.Expr:
    """*moment* where Python has a date for it: the years 1 to 9999."""
    return pl.when(moment.is_between(pl.lit(datetime.min, TYPE), pl.lit(datetime.max, TYPE))).then(moment)


def _utc(moment: pl.Expr) -> pl.Expr:
    return moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

"""When things happened: every form of a moment that tables hold, as naive UTC microseconds."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from serving.errors import DataError

TYPE = pl.Datetime("us")
LOCAL_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
OFFSET_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z")


def naive(moment: datetime) -> datetime:
    """*moment* in UTC without saying so, as tables hold it; one without a zone is UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def moments(schema: Any, name: str) -> pl.Expr:
    """The column *name* of a table with polars *schema*; text that is no moment becomes null.

    Raises:
        DataError: the column holds neither moments nor text.
    """
    column, dtype = pl.col(name), schema[name]
    if dtype == pl.String:
        text = column.str.strip_chars().str.replace(r"Z$", "")
        local = [text.str.to_datetime(form, strict=False, time_unit="us") for form in LOCAL_FORMATS]
        shifted = [text.str.to_datetime(form, strict=False, time_unit="us") for form in OFFSET_FORMATS]
        return pl.coalesce(*local, *map(_utc, shifted))
    if dtype not in (pl.Null, pl.Date, pl.Datetime):
        raise DataError(
            f"column {name!r} has type {dtype}: expected dates or times; correct the export or the column's type in "
            "the contract"
        )
    return (_utc(column) if getattr(dtype, "time_zone", None) else column).cast(TYPE)


def _utc(moment: pl.Expr) -> pl.Expr:
    return moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

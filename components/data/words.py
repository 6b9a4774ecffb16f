"""Cells as text: how another type is spelled, a number that people wrote is read, and what occurs how often."""

from typing import Any

import polars as pl

_GROUPS = r"^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$"
_GROUPS_BY_POINT = r"^\s*[-+]?\d{1,3}(\.\d{3})+(,\d*)?\s*$"
_DECIMAL_COMMA = r"^\s*[-+]?\d*,\d+\s*$"
MOMENT = "%Y-%m-%dT%H:%M:%S%.f"


def spelled(cell: pl.Expr, dtype: Any) -> pl.Expr:
    """The text that a *cell* of polars type *dtype* would be in a CSV file; null where it holds nothing.

    A whole number has no decimal point, as a code such as 3.0 comes from a column with gaps, and a decimal ends in no
    zero, as systems write the code 3 with all the digits its column could have (3.0000000000). What no CSV file holds,
    such as a list, is named by its type.
    """
    if dtype.is_nested() or dtype == pl.Object:
        return pl.when(cell.is_not_null()).then(pl.lit(f"a value of type {dtype}"))
    if dtype.is_float():
        whole = cell.is_finite() & (cell == cell.floor()) & (cell.abs() < 2.0**63)
        number = pl.when(whole).then(cell.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(cell.cast(pl.String))
        return pl.when(cell.is_not_nan()).then(number)
    if dtype == pl.Datetime:
        zoned = getattr(dtype, "time_zone", None)
        return (cell.dt.convert_time_zone("UTC") if zoned else cell).dt.to_string(MOMENT)
    if dtype == pl.Duration:
        return cell.dt.to_string("iso")
    if dtype.is_decimal():
        text = cell.cast(pl.String)
        short = text.str.strip_chars_end("0").str.strip_chars_end(".")
        return pl.when(text.str.contains(".", literal=True)).then(short).otherwise(text)
    if dtype == pl.Binary:
        return cell.map_elements(_text, return_dtype=pl.String)
    return cell.cast(pl.String)


def counted(values: pl.Series) -> dict[Any, int]:
    """How many of *values* are each of those that occur, the most frequent first and equals in their own order.

    polars gives equal counts in another order in each process, which no file of ours may repeat.
    """
    table = values.drop_nulls().alias("value").value_counts()
    return dict(table.sort("count", "value", descending=[True, False]).iter_rows())


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def number(text: pl.Expr) -> pl.Expr:
    """The number that *text* writes, with thousands in groups or not (``310,000``); null where it is none."""
    return text.map_batches(_numbers, return_dtype=pl.Float64, is_elementwise=True)


def _numbers(text: pl.Series) -> pl.Series:
    """Blanks and groups are only looked for in cells that are no number as they stand."""
    found = text.cast(pl.Float64, strict=False)
    left = (found.is_null() & text.is_not_null()).arg_true()
    if not len(left):
        return found
    bare = text.gather(left).str.strip_chars()
    plain = bare.str.replace_all(",", "", literal=True)
    return found.scatter(left, plain.zip_with(bare.str.contains(_GROUPS), bare).cast(pl.Float64, strict=False))


def plain_numbers(text: pl.Expr) -> pl.Expr:
    """*text* whose numbers have a comma before their decimals and points between thousands, as ``number`` reads them.

    What is no such number stays as it is.
    """
    written = text.str.contains(_DECIMAL_COMMA) | text.str.contains(_GROUPS_BY_POINT)
    plain = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return pl.when(written).then(plain).otherwise(text)

"""What the cells of one column hold, whatever the format that brought them: numbers, moments, truths or words."""

from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from components.data.meaning import FALSE_WORDS, TRUE_WORDS
from components.data.moments import TYPE, moments
from components.data.words import counted, number, plain_numbers, spelled
from components.drafting import dates, names
from serving.columns.column import MISSING_WORDS
from serving.columns.moments import EPOCHS

Kind = Literal["number", "moment", "truth", "word", "empty"]
# What people write where a number or a date is missing, beside the words that are missing anywhere.
NULL_WORDS = (
    *("?", "??", "-", "--", "---", ".", "..", "*", "x", "xx", "#", "n/a", "na", "nan", "nil", "none", "null", "(null)"),
    *("\\n", "n.a.", "missing", "unknown", "unk", "not available", "not applicable", "#n/a", "#div/0!", "#value!"),
)
SIGNS = ("?", "??", "-", "--", "---", ".", "..", "*", "#", "#n/a", "(null)", "\\n", "n/a", "n.a.")  # in words too
ODD = 0.05  # share of cells that may be no numbers in a column that is one of numbers all the same
FEW_NUMBERS = 20  # of fewer different ones a stray word may well be one value more
_AFFIXED = r"^[^\d\s+-]{0,4}\s*[-+]?\d[\d,. ]*\s*[^\d\s]{0,6}\d?$"
UNITS = (
    *(
        "%",
        "$",
        "€",
        "£",
        "¥",
        "usd",
        "eur",
        "gbp",
        "chf",
        "m",
        "m2",
        "m²",
        "km",
        "cm",
        "mm",
        "mi",
        "miles",
        "ft",
        "ft2",
    ),
    *(
        "sqft",
        "sqm",
        "kg",
        "g",
        "mg",
        "lb",
        "lbs",
        "oz",
        "h",
        "hr",
        "hrs",
        "min",
        "mins",
        "s",
        "sec",
        "ms",
        "kw",
        "kwh",
    ),
    *(
        "mwh",
        "w",
        "v",
        "l",
        "ml",
        "gal",
        "mpg",
        "kmpl",
        "cc",
        "hp",
        "bhp",
        "°c",
        "°f",
        "k",
        "mb",
        "gb",
        "years",
        "days",
    ),
)
_LEADING_ZERO = r"^0\d+$"


@dataclass(frozen=True)
class Cells:
    """One column, read.

    Attributes:
        typed: (n_rows,) float64, naive UTC moments, booleans or stripped texts; null where nothing stands.
        nulls: words that stand for nothing, as they are written, beside those that do so everywhere.
        odd: cells that are no number or moment in a column of such: the first few, and in how many rows.
        whole: of numbers, whether each is written without a decimal point, or with zeros alone behind it.
        pointed: whether such zeros are written.
        coded: digits that are names, since some begin with 0.
        affixed: numbers with a unit or a currency beside them; what stands there.
        padded: whether blanks stand around words.
    """

    kind: Kind
    typed: pl.Series
    nulls: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    odd_rows: int = 0
    whole: bool = False
    pointed: bool = False
    coded: bool = False
    affixed: str = ""
    padded: bool = False
    dated: dates.Dated | None = field(default=None, compare=False)


def read(series: pl.Series, *, by_comma: bool = False) -> Cells:
    """What *series* holds; *by_comma* where its file writes numbers with a decimal comma."""
    dtype = series.dtype
    if dtype == pl.Boolean:
        return Cells("truth", series)
    if dtype in (pl.Date, pl.Datetime):
        found = series.to_frame().select(moments(series.name, dtype)).to_series()
        return Cells("moment", found, dated=dates.Dated((dates.ISO,), (1.0,), found))
    if dtype.is_numeric():
        found = _numbers(series.cast(pl.Float64), integers=dtype.is_integer())
        return _counted(found.typed.rename(series.name), found) or found
    if dtype == pl.Null:
        return Cells("empty", series.cast(pl.String))
    text = series if dtype == pl.String else series.to_frame().select(spelled(pl.col(series.name), dtype)).to_series()
    return _texts(text, by_comma)


def _numbers(found: pl.Series, *, integers: bool) -> Cells:
    found = found.set(~found.is_finite().fill_null(value=True), None)
    whole = integers or bool((found == found.floor()).all())
    kind: Kind = "number" if found.null_count() < len(found) else "empty"
    return Cells(kind, found, whole=whole, pointed=whole and not integers)


def _texts(raw: pl.Series, by_comma: bool) -> Cells:
    bare = raw.str.strip_chars()
    text = bare.set(bare.is_in(list(MISSING_WORDS)).fill_null(value=False), None)
    if text.null_count() == len(text):
        return Cells("empty", text)
    padded = bool((bare != raw).any())
    return _truths(text) or _written_numbers(text, by_comma) or _moments(text) or _words(text, padded)


def _truths(text: pl.Series) -> Cells | None:
    """Two words for true and false that are no digits: those stay numbers."""
    known = {word for word in (*TRUE_WORDS, *FALSE_WORDS) if word.isalpha()}
    few = text.drop_nulls().head(100).str.to_lowercase().unique()
    if not set(few) <= known:
        return None
    low = text.str.to_lowercase()
    if low.drop_nulls().n_unique() > 2 or not set(low.drop_nulls().unique()) <= known:
        return None
    return Cells("truth", low.is_in(list(TRUE_WORDS)).set(low.is_null(), None))


def _written_numbers(text: pl.Series, by_comma: bool) -> Cells | None:
    sample = text.drop_nulls()
    some = sample.gather_every(max(1, len(sample) // 500)).head(500)
    if _parsed(some, by_comma).null_count() > 0.7 * len(some) or (some.str.contains(_LEADING_ZERO)).any():
        return None
    found = _parsed(text, by_comma)
    left = text.filter(found.is_null() & text.is_not_null())
    nulls = tuple(sorted(word for word in left.unique() if word.lower() in NULL_WORDS)) if len(left) else ()
    odd = left.filter(~left.is_in(list(nulls))) if nulls else left
    cells, read_as_number = len(sample), len(text) - found.null_count()
    if len(odd) and (len(odd) > ODD * cells or found.n_unique() <= FEW_NUMBERS):
        return None
    if read_as_number < 0.3 * cells or text.str.contains(_LEADING_ZERO).any() or _is_day(text, found):
        return None
    if counted := _counted(found.rename(text.name), Cells("number", found, nulls)):
        return counted
    whole = bool((found == found.floor()).all())
    pointed = whole and bool(text.str.contains(r"[.,]0*$").any())
    shown = tuple(odd.unique(maintain_order=True).head(3))
    return Cells("number", found, nulls, shown, len(odd), whole, pointed)


def _parsed(text: pl.Series, by_comma: bool) -> pl.Series:
    cell = plain_numbers(pl.col(text.name)) if by_comma else pl.col(text.name)
    found = text.to_frame().select(number(cell)).to_series()
    return found.set(~found.is_finite().fill_null(value=True), None)


def _counted(found: pl.Series, cells: Cells) -> Cells | None:
    """Seconds or milliseconds since 1970, under a name that says so; None for other numbers."""
    if not names.suggests_time(found.name) or not len(held := found.drop_nulls()):
        return None
    for form, micros in EPOCHS.items():
        if held.min() * micros >= 3e14 and held.max() * micros <= 4e15:  # July 1979 to October 2096
            at = (found * micros).round().cast(pl.Int64).cast(TYPE)
            return Cells("moment", at, cells.nulls, dated=dates.Dated((form,), (1.0,), at))
    return None


def _is_day(text: pl.Series, found: pl.Series) -> bool:
    """Whether numbers are days such as 20251130, under a name that says so."""
    if not names.suggests_time(text.name) or not found.is_between(18_000_101, 22_000_101).fill_null(value=True).all():
        return False
    return bool(dates.read(text.drop_nulls().head(500), "%Y%m%d").null_count() == 0)


def _moments(text: pl.Series) -> Cells | None:
    """Only cells with a digit can be moments, so that words are not tried in a hundred forms."""
    sample = text.drop_nulls().head(500)
    if not len(sample) or float((sample.str.contains(r"\d") & (sample.str.len_chars() >= 6)).mean() or 0.0) < 0.5:
        return None
    nulls = tuple(sorted(word for word in NULL_WORDS if (text.str.to_lowercase() == word).any()))
    held = text.set(text.str.to_lowercase().is_in(list(nulls)).fill_null(value=False), None) if nulls else text
    found = dates.dated(held)
    if found is None:
        return None
    odd = held.filter(found.moments.is_null() & held.is_not_null())
    shown = tuple(odd.unique(maintain_order=True).head(3))
    written = tuple(sorted(set(text.drop_nulls().unique()) - set(held.drop_nulls().unique()))) if nulls else ()
    return Cells("moment", found.moments, written, shown, len(odd), dated=found)


def _words(text: pl.Series, padded: bool) -> Cells:
    nulls = tuple(word for word in SIGNS if (text.str.to_lowercase() == word).any())
    held = text.set(text.str.to_lowercase().is_in(list(nulls)).fill_null(value=False), None) if nulls else text
    written = tuple(sorted(set(text.drop_nulls().unique()) - set(held.drop_nulls().unique()))) if nulls else ()
    sample = held.drop_nulls().gather_every(max(1, len(held) // 1000)).head(1000)
    coded = bool(len(sample)) and bool(sample.str.contains(r"^\d+$").all())
    return Cells("word", held, written, padded=padded, coded=coded, affixed=_affix(sample))


def _affix(sample: pl.Series) -> str:
    """What stands beside numbers in nearly all cells of *sample*; empty where they are words."""
    if not len(sample) or float(sample.str.contains(_AFFIXED).mean() or 0.0) < 0.95:
        return ""
    beside = sample.str.replace(r"^[^\d]*[-+]?\d[\d,. ]*\s*$", "").str.replace(r"^[-+]?\d[\d,. ]*\s*", "")
    before = sample.str.extract(r"^([^\d\s+-]+)").fill_null("")
    words = counted(pl.concat([beside, before.rename(sample.name)]).str.to_lowercase())
    found = [str(word) for word in words if word]
    return found[0] if found and set(found) <= set(UNITS) else ""

"""In which form a column writes its moments: the one that fits all cells, or the few that fit them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from components.data import moments
from components.data.moments import COMMON, TYPE
from serving.columns.moments import check, reading

ISO = ""  # what is read without being told: 2025-11-30, 2025-11-30 14:05, 2025-11-30T14:05:00Z
LOOKED_AT = 300  # different cells that show which forms are worth trying on all
FITS, TOGETHER = 0.98, 2  # share of the cells that the forms of one column read, and how many forms that may take
FORMS = tuple(form for form in (*COMMON, "%Y%m%dT%H%M%S", "%B %d, %Y", "%d %B %Y") if not form.startswith("epoch"))
_EARLIEST, _LATEST = datetime(1800, 1, 1), datetime(2200, 1, 1)


@dataclass(frozen=True)
class Dated:
    """Moments that texts write.

    Attributes:
        formats: which forms, ``ISO`` or with %-directives, the most frequent first.
        shares: of the cells, that each of them is the first to read.
        moments: (n_rows,) naive UTC; null where a cell is none.
        ambiguous: whether days and months could change places in every cell.
    """

    formats: tuple[str, ...]
    shares: tuple[float, ...]
    moments: pl.Series
    ambiguous: bool = False


def dated(text: pl.Series) -> Dated | None:
    """The moments in *text*, stripped of blanks and null where nothing stands; None where it does not hold moments."""
    held = text.drop_nulls()
    if not len(held):
        return None
    sample = held.unique(maintain_order=True)
    sample = sample.gather_every(max(1, len(sample) // LOOKED_AT)).head(LOOKED_AT)
    forms = _cover(sample)
    if not forms:
        return None
    return _settled(text, len(held), forms)


def read(text: pl.Series, form: str) -> pl.Series:
    """The moments of *text* in *form*, null where a cell is none of the years 1800 to 2200."""
    found = moments.read(text, reading((form,) if form else (), "UTC"))
    return found.set(~found.is_between(_EARLIEST, _LATEST).fill_null(value=True), None).cast(TYPE)


def _cover(sample: pl.Series) -> list[str]:
    """Forms that read nearly all of *sample*, taken one after another by how much they add."""
    left, forms = sample, list[str]()
    while len(left) > (1 - FITS) * len(sample) and len(forms) < TOGETHER:
        added = {form: len(left) - read(left, form).null_count() for form in (ISO, *FORMS)}
        best = max(added, key=lambda form: added[form])  # the first of equals: month before day, as the order says
        if added[best] < max(0.005 * len(sample), 1):
            return []
        forms.append(best)
        left = left.filter(read(left, best).is_null())
    return forms if len(left) <= (1 - FITS) * len(sample) else []


def _settled(text: pl.Series, cells: int, forms: Sequence[str]) -> Dated | None:
    first = _told_apart(text, forms[0])
    forms = _readable((first[0], *forms[1:]))
    found, shares, kept = pl.repeat(None, len(text), dtype=TYPE, eager=True), list[float](), list[str]()
    for form in forms:
        more = read(text, form)
        new = (found.is_null() & more.is_not_null()).sum()
        if new:
            kept.append(form)
            shares.append(new / cells)
            found = found.zip_with(found.is_not_null(), more)
    return Dated(tuple(kept), tuple(shares), found, first[1]) if sum(shares) >= 0.9 else None  # of all, not the sample


def _readable(forms: Sequence[str]) -> Sequence[str]:
    """*forms* that a column may have together; of two that read one text as two days the first alone."""
    try:
        check([form for form in forms if form])
    except ValueError:
        return forms[:1]
    return forms


def twin(form: str) -> str:
    """*form* with day and month in each other's place, where both are numbers; empty where they are not."""
    if "%m" not in form or "%d" not in form or form.startswith("%Y"):
        return ""
    return form.replace("%m", "%_").replace("%d", "%m").replace("%_", "%d")


def _told_apart(text: pl.Series, form: str) -> tuple[str, bool]:
    """*form*, or its twin where that reads more or puts more rows in order; and whether both read every cell."""
    other = twin(form)
    if not other:
        return form, False
    mine, theirs = read(text, form), read(text, other)
    if theirs.null_count() != mine.null_count():
        return (form if mine.null_count() < theirs.null_count() else other), False
    return (form if _order(mine) >= _order(theirs) else other), True


def _order(found: pl.Series) -> float:
    """Share of neighbouring rows whose moments do not go back."""
    steps = found.drop_nulls().diff().drop_nulls()
    return float((steps.dt.total_microseconds() >= 0).mean() or 0.0)

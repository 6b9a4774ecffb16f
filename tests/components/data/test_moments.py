"""A text or number that says when: the same to a table, to a request, and to Python's own calendar."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.data.meaning import value
from components.data.moments import assembled, fitting
from components.data.tables import code
from serving.columns import moments
from serving.columns.coding import NO_MOMENT, moment
from serving.contract import Assembled, Column

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Monrovia", "Pacific/Apia", "+05:30")
FORMATS = (
    *("%m/%d/%Y", "%d.%m.%Y %H:%M", "%Y%m%d%H%M%S", "%Y-%d-%m", "%d %B %Y", "%b %d, %Y %I:%M:%S.%f %p", "%j/%Y"),
    *("%d-%b-%y %H", "%y%m%d", "%a, %d %b %Y %T %z", "%F %H.%M", "%m/%d/%Y %H:%M:%S.%f%z", "day %d of %m %Y 100%%"),
)
ISO = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f%z")
MOMENTS = st.datetimes(datetime.min, datetime.max)
CHANGES = st.builds(  # hours in which clocks are changed, and those beside
    lambda day, seconds: day + timedelta(seconds=seconds),
    st.sampled_from(
        [datetime(*day) for day in ((2014, 3, 30), (2014, 10, 26), (2011, 12, 30), (1893, 4, 1), (2026, 3, 8))]
    ),
    st.integers(-7_200, 4 * 3_600),
)


def table(cells: list[Any], column: Column, dtype: Any = pl.String) -> list[float | None]:
    """What a table makes of *cells*, as it stands in the coded matrix."""
    frame = pl.DataFrame({"at": pl.Series(cells, dtype=dtype)})
    typed = frame.select(value("at", column, frame.schema["at"]).alias("at"))
    return typed.select(code(pl.col("at"), column)).to_series().to_list()


def request(cells: list[Any], column: Column) -> list[float | None]:
    """What a server makes of them."""
    codes = map(moment(column), cells)
    return [None if one != one or one == NO_MOMENT else one for one in codes]


def written(when: datetime, form: str) -> str:
    """*when* as a machine with the C locale writes it; years have four digits."""
    return when.strftime(form.replace("%Y", f"{when.year:04}").replace("%F", f"{when.year:04}-%m-%d"))


@settings(max_examples=60, deadline=None)
@given(
    whens=st.lists(MOMENTS | CHANGES, min_size=1, max_size=20),
    form=st.sampled_from((*FORMATS, *ISO)),
    zone=st.sampled_from(ZONES),
    ahead=st.integers(-840, 840),
)
@example([datetime(2014, 3, 30, 2, 30), datetime(2014, 10, 26, 2, 30)], "%d.%m.%Y %H:%M", "Europe/Berlin", 0)
@example([datetime.min, datetime.max, datetime(1, 1, 1, 1)], "%Y-%m-%dT%H:%M:%S.%f", "Europe/Berlin", 0)
def test_a_text_means_one_moment(whens: list[datetime], form: str, zone: str, ahead: int) -> None:
    """In a table and in a request to the last bit, and the one that Python reads in it, over all years and clocks."""
    column = Column(type="datetime", format=() if form in ISO else form, zone=zone)
    texts = [written(when.replace(tzinfo=timezone(timedelta(minutes=ahead))), form) for when in whens]
    found = request(texts, column)
    assert table(texts, column) == found
    assert found == [meant(text, form, zone) for text in texts]


def meant(text: str, form: str, zone: str) -> float | None:
    """What Python's own calendar says of *text*, to the microsecond where a double can."""
    when = datetime.strptime(text, form.replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d"))
    try:
        utc = (when if when.tzinfo else when.replace(tzinfo=moments.zone_of(zone))).astimezone(UTC)
    except OverflowError:
        return None
    length = utc - datetime(1970, 1, 1, tzinfo=UTC)
    return length.days * 86_400 + length.seconds + length.microseconds / 1e6


WORDS = (
    *(
        "",
        " ",
        "NA",
        "?",
        "soon",
        "2014",
        "2014-1-2",
        "2014-02-30",
        "2014-00-10",
        "2014-03-25T24:00",
        "2014-03-25 23:60",
    ),
    *(" 2014-03-25 ", "2014-03-25Z", "2014-03-25T14:05Z", "2014-03-25t14:05z", "2014-03-25 14:05:09 UTC", "20140325"),
    *("2014-03-25T14:05:09,5", "2014-03-25T14:05:09.", "2014-03-25T14:05:09.123456789", "2014-03-25T14:05+0530"),
    *(
        "2014-03-25T14:05-23:59",
        "2014-03-25T14:05+24:00",
        "2014-03-25T14:05+05",
        "+2014-03-25",
        "12014-03-25",
        "0000-01-01",
    ),
    *(
        "0001-01-01T00:00+01:00",
        "9999-12-31T23:59:59-00:01",
        "2014-W13-2",
        "2014-084",
        "1388534400",
        "1388534400.5",
        "-1",
    ),
    *(
        "1e9",
        "03/25/2014",
        "3/5/2014",
        "25/03/2014",
        "03/25/14",
        "2014/03/25",
        "２０１４-03-25",
        "2014-03-25\n",
        "2014-03-25\x1f",
    ),
    *("03/25/2014 ", "\u00a003/25/2014", "02/29/2013", "02/29/2012", "13/01/2014", "00/01/2014", "03/25/0000"),
)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.sampled_from(WORDS) | st.text(st.sampled_from("0123456789-/.: TZ+"), max_size=20), max_size=20),
    form=st.sampled_from(
        ((), ("%m/%d/%Y",), ("%Y%m%d",), ("%m/%d/%Y", "%d.%m.%y"), ("epoch_s",), ("%d %b %Y", "%j/%Y"))
    ),
    zone=st.sampled_from(ZONES),
)
@example(cells=list(WORDS), form=(), zone="UTC")
@example(cells=list(WORDS), form=("%m/%d/%Y",), zone="Europe/Berlin")
@example(cells=list(WORDS), form=("epoch_s",), zone="UTC")
def test_what_is_no_moment_is_none_to_both(cells: list[str], form: tuple[str, ...], zone: str) -> None:
    """Whatever stands there: a table and a request take the same texts, for the same moments."""
    column = Column(type="datetime", format=form, zone=zone, null_values=("?",))
    assert table(cells, column) == request(cells, column)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(-(10**12), 10**13) | st.floats(-1e12, 1e13), max_size=20),
    unit=st.sampled_from(("epoch_s", "epoch_ms")),
)
def test_counts_are_moments(counts: list[float], unit: str) -> None:
    """Numbers and texts of numbers, in a table and in a request; seconds and milliseconds."""
    column = Column(type="datetime", format=unit)
    assert table([float(one) for one in counts], column, pl.Float64) == request(counts, column)
    texts = [str(one) for one in counts if "e" not in str(one)]
    assert table(texts, column) == request(texts, column)
    assert request([1_388_534_400], Column(type="datetime", format="epoch_s")) == [1_388_534_400.0]
    assert request([1_388_534_400_250], Column(type="datetime", format="epoch_ms")) == [1_388_534_400.25]


@given(micros=st.integers(moments.LOWEST, moments.HIGHEST))
def test_a_code_says_its_moment(micros: int) -> None:
    """What a log or a request says of a code is read as that code again."""
    told = moments.seconds(micros)
    assert moment(Column(type="datetime"))(moments.shown(moments.micros_of(told))) == told


@pytest.mark.parametrize(
    ("cells", "formats"),
    [
        pytest.param(["10/13/2014", "1/2/2015", None, ""], ("%m/%d/%Y",), id="months-first"),
        pytest.param(["13/10/2014", "2/1/2015"], ("%d/%m/%Y",), id="days-first"),
        pytest.param(["03/04/2014", "5/6/2014"], ("%m/%d/%Y", "%d/%m/%Y"), id="nothing-is-guessed"),
        pytest.param(["13.10.2014 07:05"], ("%d.%m.%Y %H:%M",), id="with-a-clock"),
        pytest.param(["20250101", "20251231"], ("%Y%m%d",), id="digits"),
        pytest.param(["1388534400", "1400000000"], ("epoch_s",), id="seconds"),
        pytest.param(["1388534400000"], ("epoch_ms",), id="milliseconds"),
        pytest.param(["13 Oct 2014", "1 January 2015"], ("%d %b %Y",), id="words"),
        pytest.param(["10/13/2014", "13/10/2014"], (), id="both"),
        pytest.param(["2014-10-13"], (), id="iso-needs-none"),
        pytest.param([None, " "], (), id="nothing"),
    ],
)
def test_formats_that_fit_are_named(cells: list[str | None], formats: tuple[str, ...]) -> None:
    """All formats that read every cell, and none where one cell says otherwise."""
    assert fitting(pl.Series(cells, dtype=pl.String)) == formats


@pytest.mark.parametrize(
    ("form", "said"),
    [
        pytest.param("%Q", "'%Q' is no directive", id="unknown"),
        pytest.param("%m/%Y", "expected directives of year, month and day", id="no-day"),
        pytest.param("%d/%m/%Y %d", "stands twice", id="twice"),
        pytest.param("%d/%m/%Y %I", "%I and %p only mean an hour together", id="half-a-day"),
        pytest.param(("%m/%d/%Y", "%d/%m/%Y"), "both read '03/04/2014', as two days", id="two-meanings"),
    ],
)
def test_a_format_that_cannot_be_read_is_refused(form: Any, said: str) -> None:
    """When the contract is read, not when the first row is."""
    with pytest.raises(ValidationError, match=said):
        Column(type="datetime", format=form)


@pytest.mark.parametrize(
    ("columns", "made", "seen"),
    [
        pytest.param(
            {"d": ["1/2/2011", "x"], "h": [3, 4]},
            {"format": "%m/%d/%Y %H"},
            ["2011-01-02T03:00:00", "x 4"],
            id="format",
        ),
        pytest.param(
            {"y": [2011, 2011], "m": [1, 13], "d": [2, 2]}, {}, ["2011-01-02T00:00:00", "2011 13 2"], id="parts"
        ),
        pytest.param(
            {"d": [date(2011, 1, 2), None], "t": ["23:10", "1:00"]},
            {},
            ["2011-01-02T23:10:00", None],
            id="date-and-time",
        ),
        pytest.param(
            {"d": ["2011-01-02", "2011-01-02"], "h": [1.0, 24.0]},
            {},
            ["2011-01-02T01:00:00", "2011-01-02 24"],
            id="date-and-hour",
        ),
        pytest.param(
            {"d": [datetime(2011, 7, 2), None], "h": [1, 2]},
            {"zone": "Europe/Berlin"},
            ["2011-07-01T23:00:00", None],
            id="zone",
        ),
    ],
)
def test_an_event_time_is_assembled(columns: dict[str, Any], made: dict[str, Any], seen: list[str | None]) -> None:
    """Of several columns one text, the moment where it says one, and else what stands there, to be complained of."""
    form = made.get("format", ())
    whole = Assembled(columns=tuple(columns), **{**made, "format": (form,) if form else ()})
    assert assembled(pl.DataFrame(columns, strict=False), "at", whole)["at"].to_list() == seen

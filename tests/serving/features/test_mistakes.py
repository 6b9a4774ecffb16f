"""A mistake in an expression is told by its key, its place, what was expected, and the nearest name."""

import pytest

from serving.errors import ConfigError
from serving.features.compile import compile_columns
from tests.serving.features.reference import CONTRACT

ABSENT = {"price": "is the target, which a request does not bring"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("hour(berln)", "no column 'berln'; did you mean 'berlin'?, at 'berln'", id="name"),
        pytest.param("hours(at)", "no function 'hours'; did you mean 'hour'?", id="function"),
        pytest.param("price / area", "'price' is the target, which a request does not bring", id="target"),
        pytest.param("area + kind", "expected a number, got a category, at 'area + kind'", id="category"),
        pytest.param("at - berlin", "write days_between(a, b)", id="difference-of-moments"),
        pytest.param("hour(area)", "expected a column of type datetime or datetime(...), got a number", id="moment"),
        pytest.param("where(area, 1, 2)", "expected a condition such as area > 100, got a number", id="condition"),
        pytest.param('kind == "flut"', "'flut' is none of the values; did you mean 'flat'?", id="word"),
        pytest.param('kind in ("flat", "villa")', "expected one of flat, house, plot", id="list-of-words"),
        pytest.param('kind < "flat"', "categories have no order", id="order-of-words"),
        pytest.param('kind == region', "expected two categories with the same values", id="two-categories"),
        pytest.param('area == "flat"', "expected a number, got the text 'flat'", id="text-for-a-number"),
        pytest.param('"flat"', "got the text 'flat'", id="text"),
        pytest.param('where(garden, 1, "flat")', "expected a number, got the text 'flat'", id="mixed"),
        pytest.param("where(garden, kind, region)", "expected two categories with the same values", id="mixed-words"),
        pytest.param("where(garden, at, berlin)", "two moments of one zone, got UTC and Europe/Berlin", id="zones"),
        pytest.param("log(area, 2)", "expected log(x), got 2 arguments", id="arguments"),
        pytest.param("min(area)", "expected min(x, y, [...]), got 1 argument", id="too-few"),
        pytest.param("round(area, rooms)", "expected a number that is written here, got a number", id="constant"),
        pytest.param("bin(area, [3, 1])", "expected ascending edges such as [10, 20, 50]", id="edges"),
        pytest.param("cyclic(area, 0)", "expected a period above 0", id="period"),
        pytest.param("1 + cyclic(area, 24)", "cyclic makes two columns", id="cyclic-inside"),
        pytest.param('days_since(at, "31.12.2010")', "expected a date such as '2010-01-31'", id="date"),
        pytest.param("area if garden else 1", "write where(condition, a, b)", id="if"),
        pytest.param("garden & garden", "write 'and'", id="bits"),
        pytest.param("area is None", "write isnull(x)", id="is"),
        pytest.param("area == None", "a missing value is written 'missing'", id="none"),
        pytest.param("log(x=area)", "write the arguments by their places", id="keyword"),
        pytest.param("area +", "expected an expression such as 'area / rooms', seen 'area +'", id="syntax"),
        pytest.param("", "expected an expression", id="empty"),
        pytest.param("rooms; area", "expected an expression", id="two"),
        pytest.param("living area", "expected an expression", id="blank-in-a-name"),
        pytest.param("col(area)", 'such as col("living area")', id="col"),
        pytest.param("9" * 400, "expected a finite number", id="large"),
        pytest.param("x + 1", "it would be computed from itself, x from x", id="cycle"),
        pytest.param("area.__class__", "no column 'area.__class__'", id="attribute"),
        pytest.param("(lambda: 1)()", "an expression has no Lambda", id="lambda"),
        pytest.param("[x for x in (1, 2)]", "an expression has no ListComp", id="comprehension"),
        pytest.param("__import__('os')", "no function '__import__'", id="import"),
        pytest.param("(area := 3)", "an expression has no NamedExpr", id="walrus"),
        pytest.param('f"{area}"', "an expression has no JoinedStr", id="f-string"),
        pytest.param("area[0]", "an expression has no Subscript", id="subscript"),
        pytest.param("1j", "expected a number", id="complex"),
        pytest.param("-" * 900 + "1", "60 operations inside of one another", id="deep"),
        pytest.param("(" * 400 + "1" + ")" * 400, "too many nested parentheses", id="parentheses"),
        pytest.param("1 + " * 400 + "1", "at most 1,000 characters, seen 1,601", id="long"),
        pytest.param("a\0b", "cannot be read|expected an expression", id="null"),
        pytest.param("\ud800", "cannot be read", id="surrogate"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        compile_columns({"x": text}, CONTRACT.slots, ABSENT)
    assert str(told.value).startswith("features.columns.x: ")
    assert any(word in str(told.value) for word in words.split("|"))


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        compile_columns({"a": "b + 1", "b": "nothing", "c": "hour(rooms)", "area": "1"}, CONTRACT.slots)
    assert [part.partition(":")[0] for part in str(told.value).split("; features")] == [
        "features.columns.area",
        ".columns.b",
        ".columns.c",
    ]


def test_a_circle_is_told_with_its_way() -> None:
    with pytest.raises(ConfigError, match=r"features\.columns\.[abc]: it would be computed from itself, "):
        compile_columns({"a": "b", "b": "c", "c": "a + 1"}, CONTRACT.slots)


def test_no_number_of_columns_or_steps_takes_long() -> None:
    """What a project cannot mean is refused by its size, before it is computed."""
    with pytest.raises(ConfigError, match="at most 1,000 columns, seen 1,001"):
        compile_columns({f"x{place}": "1" for place in range(1001)}, CONTRACT.slots)
    steps = {f"x{place}": " + ".join(f"{place}.{one} * area" for one in range(20)) for place in range(900)}
    with pytest.raises(ConfigError, match="more than 16,384 steps"):
        compile_columns(steps, CONTRACT.slots)
    with pytest.raises(ConfigError, match="at most 4,096 are wanted"):
        compile_columns({"x": f"cross(bin(area, {list(range(99))}), bin(rooms, {list(range(50))}))"}, CONTRACT.slots)

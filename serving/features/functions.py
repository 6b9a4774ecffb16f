"""The functions of expressions: what each means, takes and compiles to; ``docs/features.md`` is written from here."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from serving.features import calendar, operations
from serving.features import kernel as k
from serving.features.operands import Builder, Mistake, Operand

Emit = Callable[..., Operand]


@dataclass(frozen=True)
class Function:
    """One function.

    Attributes:
        takes: its arguments; one in brackets may be left out, and the one before ``...`` repeats.
        meaning: what it gives, as a phrase of the documentation.
        examples: expressions over the columns of ``EXAMPLE``, with what they give as ``shown`` writes it.
        emit: compiles it: called with a ``Builder`` and as many operands as ``takes`` allows.
    """

    takes: str
    meaning: str
    examples: Mapping[str, str]
    emit: Emit

    def check(self, name: str, given: int) -> None:
        """Refuse another number of arguments than it takes.

        Raises:
            Mistake: it takes more or fewer.
        """
        words = self.takes.replace("[", "").replace("]", "").split(", ")
        least = len([word for word in self.takes.split(", ") if not word.startswith("[") and word != "..."])
        most = math.inf if "..." in words else len(words)
        if not least <= given <= most:
            raise Mistake(f"expected {name}({self.takes}), got {given} argument{'' if given == 1 else 's'}")


def _unary(op: int) -> Emit:
    return lambda build, x: build.number(op, operations.number(x))


def _round(build: Builder, x: Operand, digits: Operand | None = None) -> Operand:
    """As numpy: halves to the even neighbour, of the scaled number."""
    places = 0 if digits is None else _constant(digits)
    if places != int(places) or not -15 <= places <= 15:
        raise Mistake("expected a whole number of digits, -15 to 15")
    if not places:
        return build.number(k.ROUND, operations.number(x))
    up, down = (k.MULTIPLY, k.DIVIDE) if places > 0 else (k.DIVIDE, k.MULTIPLY)
    scale = 10.0 ** abs(int(places))
    return build.number(down, build.number(k.ROUND, build.number(up, operations.number(x), scale)), scale)


def _extreme(op: int) -> Emit:
    def emit(build: Builder, first: Operand, *rest: Operand) -> Operand:
        found = first
        for one in rest:
            a, b, kind = operations.joined(build, found, one)
            if kind.kind not in ("number", "truth", "moment"):
                raise Mistake(f"expected numbers, got {kind.noun}")
            found = _as(kind, build.step(op, a.register, b.register))
        return found

    return emit


def _as(kind: Operand, register: int) -> Operand:
    return replace(kind, register=register)


def _clip(build: Builder, x: Operand, low: Operand, high: Operand) -> Operand:
    raised = build.number(k.MAXIMUM, operations.number(x), operations.number(low))
    return build.number(k.MINIMUM, raised, operations.number(high))


def _where(build: Builder, condition: Operand, then: Operand, otherwise: Operand) -> Operand:
    a, b, kind = operations.joined(build, then, otherwise)
    return _as(kind, build.step(k.CHOOSE, operations.truth(build, condition).register, a.register, b.register))


def _fill(build: Builder, x: Operand, value: Operand) -> Operand:
    a, b, kind = operations.joined(build, x, value)
    return _as(kind, build.step(k.FILL, a.register, b.register))


def _is_null(build: Builder, x: Operand) -> Operand:
    if x.kind in ("text", "list"):
        raise Mistake(f"expected a column, got {x.noun}")
    return build.truth(k.IS_NULL, x)


def _bin(build: Builder, x: Operand, edges: Operand) -> Operand:
    numbers = [_constant(one) for one in edges.literal] if edges.kind == "list" else []
    if not numbers or any(low >= high for low, high in pairwise(numbers)):
        raise Mistake("expected ascending edges such as [10, 20, 50]")
    code = build.searched(k.BIN, operations.number(x).register, numbers)
    return Operand("category", code, values=operations.ranges(numbers))


def _distance(build: Builder, *degrees: Operand) -> Operand:
    return build.number(k.DISTANCE, *map(operations.number, degrees))


def _constant(operand: Operand) -> float:
    if operand.kind != "number" or operand.literal is None:
        raise Mistake(f"expected a number that is written here, got {operand.noun}")
    return float(operand.literal)


def _learned(statistic: str) -> Emit:
    def emit(build: Builder, x: Operand, by: Operand) -> Operand:
        return Operand("number", build.learned(statistic, operations.number(x), operations.category(by)))

    return emit


_F = Function
FUNCTIONS: Mapping[str, Function] = {
    "abs": _F("x", "without its sign", {"abs(-3)": "3"}, _unary(k.ABSOLUTE)),
    "floor": _F("x", "the whole number below", {"floor(-1.5)": "-2"}, _unary(k.FLOOR)),
    "ceil": _F("x", "the whole number above", {"ceil(-1.5)": "-1"}, _unary(k.CEIL)),
    "round": _F(
        "x, [digits]", "rounded, halves to the even neighbour", {"round(2.5)": "2", "round(area / 3, 1)": "26.7"},
        _round,
    ),
    "sqrt": _F("x", "square root; missing below 0", {"sqrt(area + 1)": "9"}, _unary(k.SQRT)),
    "log": _F("x", "natural logarithm; missing at 0 and below", {"log(1)": "0", "log(0)": "missing"}, _unary(k.LOG)),
    "log1p": _F("x", "log(1 + x), exact near 0", {"log1p(0)": "0"}, _unary(k.LOG1P)),
    "exp": _F("x", "e to the power of x", {"exp(0)": "1", "exp(1000)": "missing"}, _unary(k.EXP)),
    "sin": _F("x", "sine of an angle in radians", {"sin(pi / 2)": "1"}, _unary(k.SIN)),
    "cos": _F("x", "cosine of an angle in radians", {"cos(0)": "1"}, _unary(k.COS)),
    "min": _F("x, y, [...]", "the least; missing if one is", {"min(area, 100, 90)": "80"}, _extreme(k.MINIMUM)),
    "max": _F("x, y, [...]", "the greatest; missing if one is", {"max(rooms, 5)": "5"}, _extreme(k.MAXIMUM)),
    "clip": _F("x, low, high", "held between two bounds", {"clip(area, 10, 60)": "60"}, _clip),
    "where": _F(
        "condition, a, b", "a where the condition holds, else b",
        {"where(rooms > 3, 1, 0)": "0", 'where(area > 50, "large", "small")': "large"}, _where,
    ),
    "isnull": _F("x", "whether x is missing", {"isnull(floor_no)": "true", "isnull(area)": "false"}, _is_null),
    "fill": _F("x, value", "value where x is missing", {"fill(floor_no, 0)": "0"}, _fill),
    "bin": _F(
        "x, edges", "which of the ranges between ascending edges x is in, as a category; each begins at its lower edge",
        {"bin(area, [40, 80, 120])": "80 to 120"}, _bin,
    ),
    "cross": _F(
        "a, b", "each pair of two categories as a category", {"cross(kind, garden)": "flat | true"},
        lambda build, a, b: operations.crossed(build, a, b),
    ),
    "distance": _F(
        "lat1, lon1, lat2, lon2",
        "kilometres between two places in degrees, on a sphere of 6,371.0088 km (haversine, Sinnott 1984)",
        {"round(distance(52.52, 13.405, 48.1374, 11.5755))": "504"}, _distance,
    ),
    **{
        name: _F(
            "x, category", f"the {word} of x in the training rows with the same category, else in all of them",
            {f"{name}(area, kind)": result}, _learned(name),
        )
        for name, word, result in (("mean", "mean", "90"), ("median", "median", "90"), ("std", "deviation", "10"))
    },
    **{
        name: _F("t", meaning, examples, lambda build, t, part=part: part(build, operations.moment(t)))
        for name, (part, meaning, examples) in calendar.PARTS.items()
    },
    "days_since": _F(
        "t, date", "days of 24 hours from a date, which begins at midnight by the column's clocks, to t",
        {'days_since(sold_at, "2014-03-29")': "1.10417"}, calendar.days_since,
    ),
    "days_between": _F(
        "t, u", "days of 24 hours from t to u", {"days_between(sold_at, datetime(2014, 3, 31, 0))": "0.9375"},
        calendar.days_between,
    ),
    "datetime": _F(
        "year, month, day, [hour], [minute], [second]", "the moment of these numbers, UTC; missing if there is none",
        {"weekday(datetime(2014, 3, 30))": "6", "year(datetime(2014, 2, 30))": "missing"}, calendar.assembled,
    ),
}  # fmt: skip
CYCLIC = "cyclic"
"""The one that makes two columns, sine and cosine, and stands alone in its expression."""


def cyclic(build: Builder, arguments: Sequence[Operand]) -> tuple[Operand, Operand]:
    """Sine and cosine of a number that returns to its start after a period: 23 h stands beside 0 h."""
    if len(arguments) != 2:
        raise Mistake(f"expected cyclic(x, period), got {len(arguments)} arguments")
    period = _constant(arguments[1])
    if period <= 0:
        raise Mistake("expected a period above 0")
    angle = build.number(k.MULTIPLY, operations.number(arguments[0]), 2 * math.pi / period)
    return build.number(k.SIN, angle), build.number(k.COS, angle)

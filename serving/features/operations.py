"""How operators and mixed operands are compiled: arithmetic, comparisons, truths, and what words and dates may meet."""

import ast
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from itertools import pairwise
from zoneinfo import ZoneInfo

from serving.features import kernel as k
from serving.features.operands import MOST_VALUES, Builder, Mistake, Operand

_ARITHMETIC: Mapping[type[ast.operator], int] = {
    ast.Add: k.ADD, ast.Sub: k.SUBTRACT, ast.Mult: k.MULTIPLY, ast.Div: k.DIVIDE, ast.FloorDiv: k.FLOOR_DIVIDE,
    ast.Mod: k.REMAINDER, ast.Pow: k.POWER,
}  # fmt: skip
_ORDERED: Mapping[type[ast.cmpop], tuple[int, bool]] = {
    ast.Lt: (k.LESS, False), ast.LtE: (k.AT_MOST, False), ast.Gt: (k.LESS, True), ast.GtE: (k.AT_MOST, True),
    ast.Eq: (k.EQUAL, False), ast.NotEq: (k.DIFFERENT, False),
}  # fmt: skip
"""By comparison its instruction, and whether its sides change places."""


def arithmetic(build: Builder, operator: ast.operator, left: Operand, right: Operand) -> Operand:
    if "moment" in (left.kind, right.kind):
        raise Mistake("dates and times are no numbers; write days_between(a, b) for the days between two of them")
    a, b = number(left), number(right)
    if isinstance(operator, ast.Pow) and b.literal in (2, 0.5):
        return build.number(k.MULTIPLY, a, a) if b.literal == 2 else build.number(k.SQRT, a)
    return build.number(_ARITHMETIC[type(operator)], a, b)


def compare(build: Builder, operator: ast.cmpop, left: Operand, right: Operand) -> Operand:
    """A truth; a missing value is different from all others, and neither less nor more."""
    if isinstance(operator, ast.In | ast.NotIn):
        return _among(build, left, right, isinstance(operator, ast.NotIn))
    op, turned = _ORDERED[type(operator)]
    a, b = alike(build, left, right)
    if a.kind == "category" and op not in (k.EQUAL, k.DIFFERENT):
        raise Mistake("categories have no order; compare them by ==, != or in")
    return build.truth(op, b, a) if turned else build.truth(op, a, b)


def _among(build: Builder, left: Operand, right: Operand, negated: bool) -> Operand:
    if right.kind != "list" or not right.literal:
        raise Mistake(f'expected a list such as ("flat", "house") behind \'in\', got {right.noun}')
    same = [compare(build, ast.Eq(), left, one) for one in right.literal]
    found = reduce(lambda one, other: build.truth(k.OR, one, other), same)
    return build.truth(k.NOT, found) if negated else found


def number(operand: Operand) -> Operand:
    """*operand* where a number is wanted; a truth is 1 or 0.

    Raises:
        Mistake: it is none.
    """
    if operand.kind not in ("number", "truth"):
        raise Mistake(f"expected a number, got {operand.noun}")
    return operand


def truth(build: Builder, operand: Operand) -> Operand:
    """*operand* where a condition is wanted: always 1 or 0, for a boolean that is missing 0."""
    if operand.kind != "truth":
        raise Mistake(f"expected a condition such as area > 100, got {operand.noun}")
    return build.truth(k.TRUE, operand)


def moment(operand: Operand) -> Operand:
    if operand.kind != "moment":
        raise Mistake(f"expected a column of type datetime or datetime(...), got {operand.noun}")
    return operand


def category(operand: Operand) -> Operand:
    """*operand* where a category is wanted; a truth is one of two."""
    if operand.kind == "truth":
        return Operand("category", operand.register, values=("false", "true"))
    if operand.kind != "category":
        raise Mistake(f"expected a category, got {operand.noun}")
    return operand


def alike(build: Builder, left: Operand, right: Operand, rare: int = -1) -> tuple[Operand, Operand]:
    """Both as one kind: two numbers, two truths, two moments, or codes of the same category.

    A word that an open category has not learned has the code *rare*, by default that of no row.

    Raises:
        Mistake: they have none in common, or a text is none of the other's values.
    """
    kinds = (left.kind, right.kind)
    if "text" in kinds:
        known, text = (right, left) if left.kind == "text" else (left, right)
        meant = instant(build, text, known.zone) if known.kind == "moment" else _word(build, text, known, rare)
        return (meant, known) if left.kind == "text" else (known, meant)
    if kinds == ("category", "category") and left.values != right.values:
        raise Mistake("expected two categories with the same values")
    if left.kind != right.kind and not {*kinds} <= {"number", "truth"}:
        raise Mistake(f"expected two of one kind, got {left.noun} and {right.noun}")
    return left, right


def _word(build: Builder, text: Operand, known: Operand, rare: int) -> Operand:
    """A text as one of the values of *known*."""
    if known.kind != "category":
        raise Mistake(f"expected {known.noun}, got {text.noun}")
    if not known.closed and text.literal not in known.values:
        return replace(known, register=build.constant(rare))
    if text.literal not in known.values:
        close = difflib.get_close_matches(text.literal, known.values, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known.values[:12])}"
        raise Mistake(f"{text.literal[:40]!r} is none of the values; {hint}")
    return replace(known, register=build.constant(known.values.index(text.literal)))


def joined(build: Builder, left: Operand, right: Operand) -> tuple[Operand, Operand, Operand]:
    """Both as one kind, and the kind of a result that is either of them."""
    first, second = _named(build, left, right)
    a, b = alike(build, first, second, rare=max(len(first.values), len(second.values)))
    if a.kind == "moment" and a.zone != b.zone:
        raise Mistake(f"expected two moments of one zone, got {a.zone} and {b.zone}")
    kind = a.kind if a.kind == b.kind else "number"
    made = a.made and b.made
    return a, b, Operand(kind, values=a.values, closed=a.closed, zone=a.zone, made=made)


def _named(build: Builder, left: Operand, right: Operand) -> tuple[Operand, Operand]:
    """Texts that stand for themselves, beside one another or in a category of such, as values of one category."""
    if not all(one.kind == "text" or one.made for one in (left, right)):
        return left, right
    first, second = (right, left) if left.kind == "text" else (left, right)  # whose codes stay, if it has any
    values = tuple(dict.fromkeys((*_values(first), *_values(second))))
    if second.kind != "text" and second.values != values:
        return left, right

    def named(one: Operand) -> Operand:
        register = build.constant(values.index(one.literal)) if one.kind == "text" else one.register
        return Operand("category", register, values=values, made=True)

    return named(left), named(right)


def _values(operand: Operand) -> tuple[str, ...]:
    return (operand.literal,) if operand.kind == "text" else operand.values


def instant(build: Builder, text: Operand, zone: str) -> Operand:
    """The moment that *text* is, by the clocks of *zone* if it states no other."""
    try:
        when = datetime.fromisoformat(str(text.literal))
    except ValueError:
        raise Mistake(f"expected a date such as '2010-01-31', got {text.noun}") from None
    when = when if when.tzinfo else when.replace(tzinfo=ZoneInfo(zone))
    return Operand("moment", build.constant(when.timestamp()), zone=zone)


def crossed(build: Builder, left: Operand, right: Operand) -> Operand:
    """Each pair of two categories as one of its own; missing where one is, else unknown where one is."""
    a, b = category(left), category(right)
    if not (a.values and b.values):
        return Operand("category", build.step(k.ADD, a.register, b.register), closed=False)
    m, n = len(a.values), len(b.values)
    if m * n > MOST_VALUES:
        raise Mistake(f"{m} and {n} values make {m * n:,} pairs, at most {MOST_VALUES:,} are wanted")
    pair = build.number(k.ADD, build.number(k.MULTIPLY, a, float(n)), b)
    odd = build.truth(k.OR, build.truth(k.AT_MOST, float(m), a), build.truth(k.AT_MOST, float(n), b))
    unknown = build.number(k.ADD, build.number(k.MULTIPLY, pair, 0.0), float(m * n))
    code = build.step(k.CHOOSE, odd.register, unknown.register, pair.register)
    values = tuple(f"{one} | {other}" for one in a.values for other in b.values)
    return Operand("category", code, values=values, closed=a.closed and b.closed)


def ranges(edges: Sequence[float]) -> tuple[str, ...]:
    """Words for the bins between *edges*, of which each begins at its lower edge."""
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return (f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and above")

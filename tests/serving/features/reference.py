"""Expressions evaluated by Python itself, row by row on numpy's scalars: what ``serving.features`` is held to."""

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from serving.contract import Contract, Matrix

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = {"at": "UTC", "berlin": "Europe/Berlin", "chatham": "Pacific/Chatham", "new_york": "America/New_York"}
KINDS, REGIONS = ("flat", "house", "plot"), ("north", "south")
CONTRACT = Contract.model_validate(
    {
        "target": {"name": "price"},
        "columns": {
            "area": {"type": "float", "nullable": True},
            "living area": {"type": "float", "nullable": True},
            "rooms": {"type": "int"},
            "lat": {"type": "float"},
            "lon": {"type": "float"},
            "garden": {"type": "bool"},
            "kind": {"type": "category", "values": list(KINDS), "nullable": True, "unknown": "flag"},
            "region": {"type": "category", "values": list(REGIONS), "unknown": "flag"},
            **{name: {"type": "datetime", "zone": zone, "nullable": True} for name, zone in ZONES.items()},
        },
    }
)


@dataclass(frozen=True)
class Moment:
    """Seconds since 1970, seen by the clocks of a zone."""

    seconds: float
    zone: str

    @property
    def clock(self) -> datetime | None:
        if math.isnan(self.seconds):
            return None
        return (EPOCH + timedelta(seconds=math.floor(self.seconds))).astimezone(ZoneInfo(self.zone))


def rows(seed: int, count: int) -> Matrix:
    """Coded rows of ``CONTRACT``, with gaps, zeros, unknown categories, and moments around changes of the clocks."""
    draw = np.random.default_rng(seed)
    shift = np.array([1396141200, 1414285200, 1330178400, 1345896000, 4_000_000_000, 20_000_000_000, -3_000_000_000])
    matrix = np.column_stack(
        [
            draw.choice([0.0, -1.5, 2.5, 80.0, 1e9, 1e-7, np.nan], count) + draw.integers(0, 2, count) * draw.normal(),
            draw.normal(0, 100, count).round(1),
            draw.integers(-3, 9, count),
            draw.uniform(-90, 90, count),
            draw.uniform(-180, 180, count),
            draw.integers(0, 2, count),
            draw.integers(0, 4, count),
            draw.integers(0, 3, count),
            *(draw.choice(shift, count) + draw.integers(-7300, 7300, count).astype(float) for _ in ZONES),
        ]
    ).astype(np.float64)
    for column in (0, 1, 6, 8, 9, 10, 11):
        matrix[draw.random(count) < 0.1, column] = np.nan
    return matrix


def values(row: np.ndarray) -> dict[str, Any]:
    """By name what a person would say is in a coded row."""
    found: dict[str, Any] = {}
    for (name, column), cell in zip(CONTRACT.slots.items(), row, strict=True):
        if column.type == "category":
            found[name] = None if math.isnan(cell) else [*column.values, "?"][int(cell)]
        elif column.type == "bool":
            found[name] = bool(cell)
        else:
            found[name] = Moment(float(cell), column.zone) if column.type == "datetime" else np.float64(cell)
    return found


def evaluate(text: str, row: Mapping[str, Any]) -> Any:
    """What *text* is for a row of ``values``: a float, None for missing and infinite ones, a word or a bool."""
    with np.errstate(all="ignore"):
        tree = ast.fix_missing_locations(_Doubles().visit(ast.parse(text, mode="eval")))
        names = {"__builtins__": {}, **FUNCTIONS, "double": np.float64, "col": row.__getitem__, **row}
        found = eval(compile(tree, text, "eval"), names)
    if isinstance(found, str | None | bool | np.bool_):
        return bool(found) if isinstance(found, np.bool_) else found
    return float(found) if math.isfinite(found) else None


class _Doubles(ast.NodeTransformer):
    """Numbers as numpy's, which know infinities."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:  # ast's own name
        if isinstance(node.value, bool | str):
            return node
        return ast.Call(ast.Name("double", ast.Load()), [node], [])


def _part(read: Any) -> Any:
    return lambda moment: np.float64(np.nan if moment.clock is None else read(moment.clock))


def _since(moment: Moment, date: str) -> Any:
    start = datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(moment.zone))
    return np.float64((moment.seconds - start.timestamp()) / 86400)


def _made(*parts: float) -> Moment:
    try:
        if any(part != int(part) for part in parts):
            return Moment(math.nan, "UTC")
        year, month, day, *clock = map(int, parts)
        hour, minute = [*clock, 0, 0][:2]
        return Moment(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp(), "UTC")
    except ValueError:
        return Moment(math.nan, "UTC")


def _bin(x: float, edges: list[float]) -> str | None:
    if math.isnan(x):
        return None
    words = [f"below {edges[0]:g}"] + [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [*words, f"{edges[-1]:g} and above"][int(np.digitize(x, edges))]


def _word(value: Any) -> str | None:
    return str(bool(value)).lower() if isinstance(value, bool | np.bool_) else value


def _cross(a: Any, b: Any) -> str | None:
    one, other = _word(a), _word(b)
    return None if one is None or other is None else "?" if "?" in (one, other) else f"{one} | {other}"


def _missing(x: Any) -> bool:
    return x is None or (isinstance(x, Moment) and x.clock is None) or (not isinstance(x, str | Moment) and x != x)


def _haversine(*degrees: float) -> Any:
    lat1, lon1, lat2, lon2 = np.radians(degrees)
    part = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * np.arcsin(np.sqrt(part))


FUNCTIONS: dict[str, Any] = {
    **{name: getattr(np, name) for name in ("abs", "floor", "ceil", "sqrt", "log", "log1p", "exp", "sin", "cos")},
    "clip": np.clip,
    "round": lambda x, digits=0: np.round(x, int(digits)),
    "min": lambda *x: np.minimum.reduce(x),
    "max": lambda *x: np.maximum.reduce(x),
    "where": lambda condition, a, b: a if condition else b,
    "isnull": _missing,
    "fill": lambda x, value: value if _missing(x) else x,
    "bin": _bin,
    "cross": _cross,
    "distance": _haversine,
    "year": _part(lambda t: t.year),
    "quarter": _part(lambda t: (t.month - 1) // 3 + 1),
    "month": _part(lambda t: t.month),
    "day": _part(lambda t: t.day),
    "dayofyear": _part(lambda t: t.timetuple().tm_yday),
    "week": _part(lambda t: t.isocalendar()[1]),
    "weekday": _part(lambda t: t.weekday()),
    "hour": _part(lambda t: t.hour),
    "minute": _part(lambda t: t.minute),
    "days_since": _since,
    "days_between": lambda a, b: np.float64((b.seconds - a.seconds) / 86400),
    "datetime": _made,
    "pi": math.pi,
    "missing": np.float64(np.nan),
}  # fmt: skip


class Writer:
    """Expressions at random: of exact operations only, each of a wanted kind and within a depth."""

    def __init__(self, seed: int) -> None:
        self._draw = Random(seed)

    def any(self, depth: int = 4) -> str:
        return self._draw.choice([self.number, self.number, self.truth, self.category])(depth)

    def number(self, depth: int) -> str:
        if depth <= 0 or self._draw.random() < 0.1:
            names = ["area", 'col("living area")', "rooms", "lat", "missing"]
            return self._draw.choice([*names, *map(repr, (0, 1, -2.5, 7, 1e6, 0.1))])
        return self._filled(self._draw.choice(NUMBERS), depth - 1)

    def truth(self, depth: int) -> str:
        if depth <= 0:
            return self._draw.choice(["garden", "True", "isnull(area)", "isnull(kind)"])
        return self._filled(self._draw.choice(TRUTHS), depth - 1)

    def category(self, depth: int) -> str:
        return self._filled(self._draw.choice(CATEGORIES), depth - 1)

    def moment(self, depth: int) -> str:
        made = "datetime(1900 + abs(rooms) * 9, rooms + 2, rooms * 5, 3, 30)"
        if depth <= 0 or self._draw.random() < 0.5:
            return self._draw.choice([*ZONES, made])
        return f"where({self.truth(depth - 1)}, at, {made})"

    def _filled(self, form: str, depth: int) -> str:
        """*form* with N, T and M for numbers, truths and moments."""
        kinds = {"N": self.number, "T": self.truth, "M": self.moment}
        return re.sub(r"\b[NTM]\b", lambda found: kinds[found[0]](depth), form)


NUMBERS = (
    *(f"(N {operator} N)" for operator in ("+", "-", "*", "/", "//", "%")),
    *(f"{name}(N)" for name in ("-", "abs", "floor", "ceil", "sqrt", "round")),
    *(f"round(N, {digits})" for digits in (1, 3, -2)),
    *("min(N, N, N)", "max(N, N)", "clip(N, -3, N)", "fill(N, N)", "where(T, N, N)", "where(T, N, N)"),
    *(f"{name}(M)" for name in ("year", "quarter", "month", "day", "dayofyear", "week", "weekday", "hour", "minute")),
    *('days_since(M, "2014-03-30")', "days_between(M, M)"),
)
TRUTHS = (
    *(f"(N {operator} N)" for operator in ("<", "<=", ">", ">=", "==", "!=")),
    *("(N < N <= N)", "(N in (1, 2, N))", '(kind == "house")', '(kind != "house")'),
    *('(kind in ("flat", "plot"))', '(kind not in ("flat", "plot"))', "(not T)", "(T and T)", "(T or T)"),
)
CATEGORIES = (
    *("bin(N, [-1, 2.5, 80])", "cross(kind, region)", "cross(kind, garden)", "cross(bin(N, [0]), region)"),
    *('where(T, kind, "flat")', 'where(T, "a", where(T, "b", "a"))', 'fill(kind, "plot")'),
)

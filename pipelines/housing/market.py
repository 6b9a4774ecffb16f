"""A housing market that stands in for the system a company buys its data from.

``market://calm?months=24&seed=7`` is a source like any other. Everything is drawn from documented formulas with seeded
generators: a property is a function of (seed, its number), a month of (seed, its number), so any month can be had
alone, a longer history continues a shorter one, and a property that is sold again is the same home.

The price of a sale in EUR, factor by factor in ``prices``; the last factor is what no column explains:

    9,500 area_m2^0.86 * region * kind * condition * age * rooms * distance * rate * level * exp(0.085 N(0, 1))

Worlds; months are counted from 0, ``turn`` is the first month of the change, and before it every world but ``season``
is ``calm`` row for row:

    calm             nothing changes
    season           from the start, every year: in July a third more sales, 3 % dearer; in January the opposite
    covariate-shift  large homes on the coast and in the country come to market; what they cost is as before
    recession        interest rises by two points, prices fall by 25 to 35 %, most on the coast and for old homes
    unit-bug         the source system sends ``area_m2`` in square feet
    schema-change    the source system renames ``rooms`` to ``room_count`` and knows a new kind, ``studio``

Some rows are dirty, as in real life: an area with two zeros too many, a row sent twice, a field left empty.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import polars as pl

from pipelines.housing.prices import (
    USUAL_RATE,
    price,
    recession_factor,
    season_factor,
    shift_weight,
    stock_size,
)
from pipelines.housing.properties import CONDITIONS, KINDS, REGIONS, Ids, Numbers, Properties, properties
from serving.errors import ConfigError

WORLDS = ("calm", "season", "covariate-shift", "recession", "unit-bug", "schema-change")
START = date(2024, 1, 1)
MONTHS = 24
SEED = 7
ROWS_PER_MONTH = 1_300
TURN = 24
DIRTY = 0.003

RATE_SPREAD = 0.4  # between buyers, percent points
RECESSION_RATE = 2.0  # percent points
SEASON_VOLUME, SEASON_PRICE = 1 / 3, 0.03
SQUARE_FEET = 10.763910
STUDIO_M2 = 45.0

# One stream of random numbers for each purpose, so that a world changes its own draws only.
_SALES, _SHIFT, _DIRT = 0, 1, 2


def read(uri: str) -> pl.DataFrame:
    """The sales of ``market://WORLD?months=24&seed=7&start=2024-01-01&rows_per_month=1300&turn=24&dirty=0.003``.

    ``from=24&until=27`` or ``month=24`` give some months instead of the first ``months``.

    Raises:
        ConfigError: the world or a parameter is unknown or not what it should be; the message names the choices.
    """
    address = urlsplit(uri)
    given = dict(parse_qsl(address.query, keep_blank_values=True))
    unknown = sorted(set(given) - set(_PARAMETERS))
    if unknown:
        raise ConfigError(f"{uri}: unknown parameter {', '.join(unknown)}; known are {', '.join(_PARAMETERS)}")
    values = {name: _parameter(uri, name, text) for name, text in given.items()}
    months = _months(uri, values)
    return sales(address.netloc + address.path.rstrip("/"), months, **values)


def sales(
    world: str,
    months: Iterable[int] = range(MONTHS),
    seed: int = SEED,
    rows_per_month: int = ROWS_PER_MONTH,
    turn: int = TURN,
    start: date = START,
    dirty: float = DIRTY,
) -> pl.DataFrame:
    """The sales of *months*, ordered by time within each month; about *rows_per_month* of each.

    Columns: sale_id, property_id, sold_at, label_at (when the price becomes known, three to five weeks later),
    interest_rate (percent), price (EUR), and those of ``properties``. Times are naive UTC.

    Args:
        dirty: share of rows, 0..0.5, with something wrong; 0 leaves the others as they are.
    """
    if world not in WORLDS:
        raise ConfigError(f"no market world {world!r}; known are {', '.join(WORLDS)}")
    tables = [_month(world, month, seed, rows_per_month, month >= turn, start, dirty) for month in months]
    if not tables:
        raise ConfigError("the market was asked for no month; months=24, or from= below until=, asks for some")
    return pl.concat(tables, how="diagonal")


def _month(
    world: str, month: int, seed: int, rows_per_month: int, turned: bool, start: date, dirty: float
) -> pl.DataFrame:
    fallen = world == "recession" and turned
    first, following = _first_day(start, month), _first_day(start, month + 1)
    random = np.random.default_rng(np.random.SeedSequence((seed, month, _SALES)))
    volume = season_factor(first.month, SEASON_VOLUME) if world == "season" else 1.0
    count = max(int(random.poisson(rows_per_month * volume)), 1)
    homes = properties(_numbers(random, count, rows_per_month), seed)
    if world == "covariate-shift" and turned:
        shifted = np.random.default_rng(np.random.SeedSequence((seed, month, _SHIFT)))
        homes = _shifted(shifted, count, rows_per_month, seed)
    seconds = np.sort(random.integers(0, int((following - first).total_seconds()), count))
    rate = USUAL_RATE + RATE_SPREAD * random.standard_normal(count) + (RECESSION_RATE if fallen else 0.0)
    rate = np.round(np.clip(rate, 0.5, 15.0), 2).astype(np.float64)
    noise = random.standard_normal(count)
    delay = random.integers(21 * 86_400, 35 * 86_400, count)
    year = np.full(count, float(first.year))
    level = recession_factor(homes, year) if fallen else _calm_level(world, first.month, count)
    table = pl.DataFrame(
        {
            "sale_id": pl.Series(np.arange(count)),
            "property_id": homes.number,
            "sold_at": _moments(first, seconds),
            "label_at": _moments(first, seconds + delay),
            **_columns(homes),
            "interest_rate": rate,
            "price": price(homes, year, rate, level, noise),
        }
    ).with_columns(
        pl.format(f"S{first:%Y%m}-{{}}", pl.col("sale_id").cast(pl.String).str.zfill(6)).alias("sale_id"),
        pl.format("P{}", "property_id").alias("property_id"),
    )
    dirt = np.random.default_rng(np.random.SeedSequence((seed, month, _DIRT)))
    return _with_dirt(dirt, _as_sent(table, world) if turned else table, dirty)


def _numbers(random: np.random.Generator, count: int, rows_per_month: int) -> Ids:
    """Different properties out of the stock; drawing twice as many makes repeats harmless."""
    drawn = random.integers(0, stock_size(rows_per_month), 2 * count + 16)
    _, first = np.unique(drawn, return_index=True)
    return drawn[np.sort(first)][:count].astype(np.int64)


def _shifted(random: np.random.Generator, count: int, rows_per_month: int, seed: int) -> Properties:
    """Properties accepted with ``shift_weight``, drawn until there are enough."""
    chosen = np.empty(0, dtype=np.int64)
    while len(chosen) < count:
        numbers = _numbers(random, 4 * count, rows_per_month)
        kept = random.random(len(numbers)) < shift_weight(properties(numbers, seed))
        joined = np.concatenate([chosen, numbers[kept]])
        _, first = np.unique(joined, return_index=True)
        chosen = joined[np.sort(first)]
    return properties(chosen[:count], seed)


def _calm_level(world: str, month_of_year: int, count: int) -> Numbers:
    """Factor of the whole market on each price, shape (count,), as long as nothing has turned."""
    return np.full(count, season_factor(month_of_year, SEASON_PRICE) if world == "season" else 1.0)


def _columns(homes: Properties) -> dict[str, Any]:
    """The columns of a home as the source system sends them; a plot has no rooms, year or condition."""
    plot = pl.Series(homes.is_plot)
    unstated = pl.Series(homes.is_plot | ~homes.condition_known)
    return {
        "region": _words(REGIONS, homes.region),
        "kind": _words(KINDS, homes.kind),
        "area_m2": homes.area_m2,
        "rooms": pl.Series(homes.rooms.astype(np.int64)).set(plot, None),
        "year_built": pl.Series(homes.year_built.astype(np.int64)).set(plot, None),
        "condition": _words(CONDITIONS, homes.condition).set(unstated, None),
        "distance_km": homes.distance_km,
    }


def _words(names: tuple[str, ...], positions: Ids) -> pl.Series:
    return pl.Series(names)[positions]


def _as_sent(table: pl.DataFrame, world: str) -> pl.DataFrame:
    """*table* as the source system sends it after the turn."""
    if world == "unit-bug":
        return table.with_columns((pl.col("area_m2") * SQUARE_FEET).round(1))
    if world == "schema-change":
        studio = (pl.col("kind") == "flat") & (pl.col("area_m2") < STUDIO_M2)
        kind = pl.when(studio).then(pl.lit("studio")).otherwise("kind").alias("kind")
        return table.with_columns(kind).rename({"rooms": "room_count"})
    return table


def _with_dirt(random: np.random.Generator, table: pl.DataFrame, share: float) -> pl.DataFrame:
    """Half of the dirty rows have an area times 100, a quarter lacks area, region or price, a quarter comes twice."""
    kind = random.choice(4, size=table.height, p=[1 - share, share / 2, share / 4, share / 4])
    field = random.choice(3, size=table.height)
    emptied = [
        pl.when(pl.Series((kind == 2) & (field == i))).then(None).otherwise(pl.col(name)).alias(name)
        for i, name in enumerate(("area_m2", "region", "price"))
    ]
    wide = pl.when(pl.Series(kind == 1)).then(pl.col("area_m2") * 100).otherwise(pl.col("area_m2")).alias("area_m2")
    dirty = table.with_columns(wide).with_columns(emptied)
    return pl.concat([dirty, dirty.filter(pl.Series(kind == 3))])


def _moments(first: datetime, seconds: Ids) -> pl.Series:
    return pl.Series(np.datetime64(first, "us") + seconds.astype("timedelta64[s]").astype("timedelta64[us]"))


def _first_day(start: date, month: int) -> datetime:
    """Midnight of the first day of the month that lies *month* months after *start*'s."""
    position = start.year * 12 + start.month - 1 + month
    return datetime(position // 12, position % 12 + 1, 1)


_PARAMETERS: dict[str, Any] = {
    "months": int,
    "month": int,
    "from": int,
    "until": int,
    "seed": int,
    "start": date.fromisoformat,
    "rows_per_month": int,
    "turn": int,
    "dirty": float,
}


def _parameter(uri: str, name: str, text: str) -> Any:
    nouns = {"start": "a date such as 2024-01-01", "dirty": "a share between 0 and 0.5"}
    noun = nouns.get(name, "a whole number of 0 or more")
    try:
        value = _PARAMETERS[name](text)
    except ValueError as error:
        raise ConfigError(f"{uri}: {name}: expected {noun}, got {text!r}") from error
    small_enough = not isinstance(value, float) or value <= 0.5
    if isinstance(value, int | float) and not (value >= 0 and small_enough):
        raise ConfigError(f"{uri}: {name}: expected {noun}, got {text!r}")
    return value


def _months(uri: str, values: dict[str, Any]) -> range:
    """The months that are asked for; takes the parameters that name them out of *values*."""
    names = ("months", "month", "from", "until")
    asked = {name: values.pop(name) for name in names if name in values}
    if len(asked.keys() & {"months", "month"}) + bool(asked.keys() & {"from", "until"}) > 1:
        raise ConfigError(f"{uri}: expected months=, month= or from= and until=, got {' and '.join(asked)}")
    if "month" in asked:
        return range(asked["month"], asked["month"] + 1)
    months = range(asked.get("from", 0), asked.get("until", asked.get("months", MONTHS)))
    if not months:
        raise ConfigError(f"{uri}: asks for no month: expected months= of 1 or more, or from= below until=")
    return months

"""The housing market: seeded, continued exactly, and each world is what it says."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from components.data.validation import require, validate
from components.projects.project import load
from pipelines.housing import market
from pipelines.housing.prices import price
from pipelines.housing.properties import REGIONS, properties
from serving.errors import ConfigError, DataError

ROWS = 200
TURN = 2
LATER = datetime(2030, 1, 1)
TURNED = range(TURN, TURN + 2)


def sales(world: str = "calm", months: range = range(4), **kwargs: Any) -> pl.DataFrame:
    return market.sales(world, months, **{"rows_per_month": ROWS, "turn": TURN, **kwargs})


def test_the_same_uri_gives_the_same_rows() -> None:
    """Two reads are equal, another seed is another market."""
    uri = "market://calm?months=3&rows_per_month=50&seed="
    assert_frame_equal(market.read(uri + "7"), market.read(uri + "7"))
    assert not market.read(uri + "7").equals(market.read(uri + "8"))


@pytest.mark.parametrize("world", market.WORLDS)
def test_any_month_can_be_had_alone(world: str) -> None:
    """Months fetched one by one are the months of the whole history, so a longer one continues a shorter one."""
    whole = sales(world)
    alone = pl.concat([sales(world, range(month, month + 1)) for month in range(4)], how="diagonal")
    assert_frame_equal(alone, whole)


def test_months_are_different_draws() -> None:
    """No month repeats another: homes, noise and the places of dirty rows are drawn anew."""
    first, second = (sales(months=range(month, month + 1), rows_per_month=1000, dirty=0.05) for month in (0, 1))
    assert len(set(first["property_id"]) & set(second["property_id"])) < 0.02 * first.height
    assert set(first["interest_rate"][:20]) != set(second["interest_rate"][:20])
    dirty = [set((table["area_m2"] > 600).arg_true()) for table in (first, second)]
    assert len(dirty[0] & dirty[1]) < 0.3 * len(dirty[0])


@pytest.mark.parametrize("world", sorted(set(market.WORLDS) - {"season"}))
def test_before_the_turn_every_world_is_calm(world: str) -> None:
    """Row for row, dirt included; after it, only calm goes on as before."""
    assert_frame_equal(sales(world, range(TURN)), sales("calm", range(TURN)))
    assert sales(world, TURNED).equals(sales("calm", TURNED)) == (world == "calm")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), first=st.integers(0, 30), rows=st.integers(1, 60))
def test_any_window_of_any_market_is_well_formed(seed: int, first: int, rows: int) -> None:
    """Unique sales in their month, labels three to five weeks later, positive prices, no home twice in a month."""
    table = market.sales("calm", range(first, first + 2), seed=seed, rows_per_month=rows, dirty=0)
    assert table["sale_id"].is_unique().all()
    assert table.select(pl.struct(pl.col("sold_at").dt.month(), "property_id").is_unique().all()).item()
    delay = table["label_at"] - table["sold_at"]
    assert timedelta(days=21) <= delay.min()
    assert delay.max() <= timedelta(days=35)
    assert (table["price"] > 0).all()
    months = table["sold_at"].dt.year() * 12 + table["sold_at"].dt.month() - (2024 * 12 + 1)
    assert set(months) <= {first, first + 1}


def test_a_home_sold_again_is_the_same_home() -> None:
    """Region, kind, area and year belong to the property; only price, rate and time belong to the sale."""
    table = market.sales("calm", range(36), rows_per_month=150, dirty=0)
    fixed = ["region", "kind", "area_m2", "rooms", "year_built", "condition", "distance_km"]
    again = table.filter(pl.col("property_id").is_duplicated())
    assert again.height > 50
    assert again.select("property_id", *fixed).n_unique() == again["property_id"].n_unique()


def test_the_price_is_the_formula_within_its_noise() -> None:
    """Log prices differ from the formula without noise by the documented 8.5 %, and by nothing on average."""
    numbers = np.arange(20_000)
    homes = properties(numbers, seed=1)
    year, rate = np.full(20_000, 2024.0), np.full(20_000, 3.5)
    noise = np.random.default_rng(0).standard_normal(20_000)
    sold = price(homes, year, rate, np.ones(20_000), noise)
    fair = price(homes, year, rate, np.ones(20_000), np.zeros(20_000))
    residual = np.log(sold / fair)
    assert residual.std() == pytest.approx(0.085, rel=0.03)
    assert abs(residual.mean()) < 0.003


def test_in_a_recession_prices_fall_by_segment() -> None:
    """The same homes cost 25 to 35 % less in most cases, most on the coast; interest is two points up."""
    calm, recession = (sales(world, TURNED, dirty=0, rows_per_month=1000) for world in ("calm", "recession"))
    fall = 1 - recession["price"] / calm["price"]
    typical = {name: fall.filter(calm["region"] == name).median() for name in REGIONS}
    assert 0.22 < typical["country"] < typical["suburb"] < typical["city"] < typical["coast"] < 0.37
    assert ((fall > 0.22) & (fall < 0.37)).mean() > 0.9
    assert (recession["interest_rate"] - calm["interest_rate"]).median() == pytest.approx(2.0, abs=0.01)
    assert recession.drop("price", "interest_rate").equals(calm.drop("price", "interest_rate"))


def test_under_a_covariate_shift_homes_change_and_prices_do_not() -> None:
    """More coast and larger homes, each at the price the calm formula gives it."""
    calm, shift = (sales(world, TURNED, dirty=0, rows_per_month=1000) for world in ("calm", "covariate-shift"))
    assert (shift["region"] == "coast").mean() > 1.5 * (calm["region"] == "coast").mean()
    assert shift["area_m2"].mean() > 1.2 * calm["area_m2"].mean()
    homes = properties(shift["property_id"].str.slice(1).cast(pl.Int64).to_numpy(), market.SEED)
    rate = shift["interest_rate"].to_numpy()
    fair = price(homes, np.full(len(rate), 2024.0), rate, np.ones(len(rate)), np.zeros(len(rate)))
    assert np.log(shift["price"].to_numpy() / fair).std() == pytest.approx(0.085, rel=0.06)


def test_the_season_comes_back_every_year() -> None:
    """Julys sell about twice as much as Januaries and dearer, in each year alike; homes are drawn as ever."""
    table = market.sales("season", range(24), rows_per_month=600, dirty=0)
    month = pl.col("sold_at").dt.month()
    for year in (2024, 2025):
        july, january = (table.filter(pl.col("sold_at").dt.year() == year, month == m).height for m in (7, 1))
        assert july / january == pytest.approx(2.0, rel=0.2)
    per_m2 = table.with_columns(per_m2=pl.col("price") / pl.col("area_m2")).filter(kind="flat")
    july, january = (per_m2.filter(month == m)["per_m2"].mean() for m in (7, 1))
    assert 1.0 < july / january < 1.15


def test_square_feet_mostly_fall_out_of_the_contract() -> None:
    """The same sales with areas times 10.76: nine in ten break the range, so a run stops."""
    contract = load(Path("pipelines/housing/project.yaml")).contract
    table = sales("unit-bug", TURNED, dirty=0)
    ratio = table["area_m2"] / sales("calm", TURNED, dirty=0)["area_m2"]
    assert ratio.to_numpy() == pytest.approx(10.7639, rel=1e-3)
    report = validate(table, contract, LATER).report
    assert report.share > 0.8
    with pytest.raises(DataError, match="area_m2 out of range"):
        require(report, contract)


def test_a_changed_schema_is_found_by_the_contract() -> None:
    """Alone, the new months lack a column; beside old ones, their rows lack a value or have an unknown kind."""
    contract = load(Path("pipelines/housing/project.yaml")).contract
    with pytest.raises(DataError, match="is 'room_count' meant to be 'rooms'"):
        validate(sales("schema-change", TURNED), contract, LATER)
    report = validate(sales("schema-change", dirty=0), contract, LATER).report
    assert {(count.column, count.reason) for count in report.reasons} == {("kind", "unknown category")}


@pytest.mark.parametrize("world", ["calm", "season", "covariate-shift", "recession"])
def test_markets_keep_the_contract_of_the_project(world: str) -> None:
    """Clean rows all pass; with the usual dirt about three rows in a thousand do not, each for a planned reason."""
    contract = load(Path("pipelines/housing/project.yaml")).contract
    assert validate(sales(world, dirty=0, rows_per_month=1000), contract, LATER).report.quarantined == 0
    report = validate(sales(world, rows_per_month=3000), contract, LATER).report
    require(report, contract)
    assert 0.001 < report.share < 0.006
    assert {count.reason for count in report.reasons} <= {"out of range", "duplicate row", "missing"}


def test_dirt_leaves_the_other_rows_alone() -> None:
    """More dirt changes the dirty rows only."""
    clean, dirty = sales(dirty=0), sales(dirty=0.1)
    same = dirty.join(clean, on=clean.columns, how="semi", nulls_equal=True)["sale_id"].n_unique()
    assert 0.9 < same / clean.height < 0.95


@pytest.mark.parametrize(
    ("query", "months"),
    [
        ("months=2", {0, 1}),
        ("month=3", {3}),
        ("from=1&until=3", {1, 2}),
        ("months=3&from=2", None),
        ("from=2&until=2", None),
        ("months=0", None),
    ],
)
def test_some_months_can_be_asked_for(query: str, months: set[int] | None) -> None:
    """By number, from 0; a request that names no month or names them twice is refused."""
    uri = f"market://calm?rows_per_month=20&{query}"
    if months is None:
        with pytest.raises(ConfigError, match="month"):
            market.read(uri)
    else:
        assert {moment.month - 1 for moment in market.read(uri)["sold_at"]} == months


def test_the_start_and_the_turn_can_be_chosen() -> None:
    """Months are counted from the start's month."""
    table = market.read("market://recession?start=2025-11-15&months=3&turn=2&rows_per_month=50&dirty=0")
    assert table["sold_at"].min() >= datetime(2025, 11, 1)
    rates = table.group_by(pl.col("sold_at").dt.month()).agg(pl.col("interest_rate").mean()).sort("sold_at")
    assert rates["sold_at"].to_list() == [1, 11, 12]
    assert rates["interest_rate"][0] > 5 > rates["interest_rate"][1:].max()
    assert market.sales("calm", range(1), start=date(2025, 11, 30), rows_per_month=5)["sold_at"].dt.month()[0] == 11


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        pytest.param("market://boom", "no market world 'boom'; known are calm, season", id="world"),
        pytest.param("market://calm?mouths=3", "unknown parameter mouths; known are months", id="parameter"),
        pytest.param("market://calm?months=many", "months: expected a whole number", id="word"),
        pytest.param("market://calm?seed=-1", "seed: expected a whole number of 0 or more", id="negative"),
        pytest.param("market://calm?dirty=0.9", "dirty: expected a share between 0 and 0.5", id="all-dirt"),
        pytest.param("market://calm?dirty=nan", "dirty: expected a share", id="nan"),
        pytest.param("market://calm?start=today", "start: expected a date", id="date"),
    ],
)
def test_a_wrong_request_names_what_is_right(uri: str, said: str) -> None:
    """Unknown worlds and parameters are configuration errors with the choices in them."""
    with pytest.raises(ConfigError, match=said):
        market.read(uri)

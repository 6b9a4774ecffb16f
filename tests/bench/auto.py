"""How good a search over families is beside ten lines of scikit-learn, on made tables of four kinds, as a table.

    python -m tests.bench.auto [--seconds 60] [TABLE ...]

The tables are made to the plan of real ones: a wide one of homes, rentals by the hour and sales by date, both split by
time, and a campaign with 12 % positives. Each figure is of held-out rows that neither side has seen.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from components.data.split import SplitPolicy
from components.data.tables import matrix_and_target
from components.judging import metrics
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.mixtures import fit_recipe, named
from components.modelling.search.auto import tune_families
from components.modelling.search.tuning import Search
from components.modelling.training import predict
from serving.contract import Contract
from serving.durations import parse
from serving.scoring.api import Declined
from serving.scoring.compile import compile_pipeline

Made = tuple[dict[str, Any], Any]  # columns by name, texts for categories; and the target


@dataclass(frozen=True)
class Kind:
    """One kind of table."""

    make: Callable[[np.random.Generator], Made]
    by_time: bool = False
    classes: tuple[str, ...] = ()


def _codes(random: np.random.Generator, n: int, size: int) -> npt.NDArray[np.int64]:
    shares = random.dirichlet(np.full(size, 0.7))
    return random.choice(size, n, p=shares)


def _texts(codes: npt.NDArray[Any]) -> list[str]:
    return [f"v{code}" for code in codes]


def homes(random: np.random.Generator, n: int = 2900) -> Made:
    """79 columns, of which a third matters: prices are products of what a home has."""
    quality, columns, score = random.normal(size=n), dict[str, Any](), np.full(n, 12.0)
    for place in range(36):
        value = 0.6 * quality + random.normal(size=n)
        columns[f"n{place}"] = np.where(random.random(n) < (0.1 if place % 5 == 0 else 0), np.nan, value.round(2))
        score += (0.12 / (1 + place) + (0.02 if place < 12 else 0)) * value
    for place in range(43):
        codes = _codes(random, n, int(random.integers(2, 20)))
        columns[f"c{place}"] = _texts(codes)
        score += (0.12 if place < 10 else 0.01) * random.normal(size=20)[codes]
    score += 0.1 * quality - 0.05 * np.maximum(columns["n1"], 0) ** 2
    return columns, np.exp(score + random.normal(0, 0.1, n))


def rentals(random: np.random.Generator, n: int = 10900) -> Made:
    """Two years of hours with hour, weekday and month taken from them; counts that grow from year to year."""
    moments = [datetime(2024, 1, 1) + timedelta(hours=1.6 * hour) for hour in range(n)]
    hour, day, month = (np.array([getter(one) for one in moments]) for getter in
                        (lambda m: m.hour, lambda m: m.weekday(), lambda m: m.month))  # fmt: skip
    days = np.array([(one - moments[0]).days for one in moments], float)
    heat = 12 - 12 * np.cos(2 * np.pi * (days - 15) / 365) + random.normal(0, 3, n)
    wet = (random.random(n) < 0.2).astype(int)
    rush = np.exp(-((hour - 8) ** 2) / 3) + 1.3 * np.exp(-((hour - 17.5) ** 2) / 5)
    noon = np.exp(-((hour - 14) ** 2) / 18)
    level = 0.15 + np.where(day < 5, 1.6 * rush + 0.5 * noon, 1.6 * noon)
    rate = (
        180 * level * (1 + days / 900) * np.exp(0.045 * (heat - 12) - 0.7 * wet - 0.003 * np.maximum(heat - 26, 0) ** 2)
    )
    columns = {"hour": hour, "weekday": _texts(day), "month": month, "days": days, "heat": heat.round(1),
               "wet": _texts(wet), "wind": random.gamma(2, 6, n).round(1), "at": moments}  # fmt: skip
    return columns, random.poisson(rate * random.gamma(20, 1 / 20, n)).astype(float)


def sales(random: np.random.Generator, n: int = 21600) -> Made:
    """Sales of a year by date, place and size; prices rise, more in some districts than in others."""
    moments = [datetime(2024, 5, 1) + timedelta(minutes=26 * place) for place in range(n)]
    days = np.array([(one - moments[0]).days for one in moments], float)
    north, east, district = random.normal(0, 1, n), random.normal(0, 1, n), _codes(random, n, 70)
    living, grade, year = random.lognormal(7.5, 0.4, n), random.integers(4, 13, n), random.integers(1900, 2024, n)
    worth, trend = random.normal(0, 0.25, 70), random.normal(0.12, 0.08, 70)
    score = 6.1 + 0.7 * np.log(living) + 0.1 * grade + worth[district] + trend[district] * days / 365
    score += 0.3 * np.exp(-((north - 0.5) ** 2 + (east + 0.3) ** 2) * 2) - 0.001 * np.abs(year - 1960)
    columns = {"days": days, "north": north.round(3), "east": east.round(3), "district": _texts(district),
               "living": living.round(), "grade": grade, "built": year, "lot": random.lognormal(9, 0.9, n).round(),
               "baths": np.maximum(1, (living / 900 + random.normal(0, 0.5, n)).round(1)), "at": moments}  # fmt: skip
    return columns, np.exp(score + random.normal(0, 0.17, n))


def campaign(random: np.random.Generator, n: int = 22000) -> Made:
    """Calls of which 12 % are answered yes, by who is called, when and how often."""
    age, balance = random.normal(42, 11, n).clip(18, 90).round(), random.lognormal(7, 1.1, n).round()
    job, month, tried = _codes(random, n, 12), _codes(random, n, 12), random.geometric(0.4, n)
    earlier, minutes = _codes(random, n, 4), random.lognormal(1.2, 0.8, n)
    score = 0.9 * np.log(minutes) + random.normal(0, 0.5, 12)[job] + random.normal(0, 0.8, 12)[month]
    score += np.array([0, 0.3, -0.2, 1.9])[earlier] - 0.15 * tried + 0.0009 * (age - 42) ** 2 + 0.1 * np.log(balance)
    score += 0.4 * (minutes > 6) * (job % 3 == 0) + random.logistic(0, 0.7, n)
    columns = {"age": age, "balance": balance, "job": _texts(job), "month": _texts(month), "tried": tried,
               "earlier": _texts(earlier), "minutes": minutes.round(2)}  # fmt: skip
    return columns, np.where(score > np.quantile(score, 0.88), "yes", "no")


KINDS: Mapping[str, Kind] = {
    "homes, 79 columns": Kind(homes),
    "rentals by the hour": Kind(rentals, by_time=True),
    "dated sales": Kind(sales, by_time=True),
    "campaign, 12 %": Kind(campaign, classes=("no", "yes")),
}


def table_of(kind: Kind, seed: int) -> tuple[pl.DataFrame, Contract]:
    columns, target = kind.make(np.random.default_rng(seed))
    rules = {
        name: {"type": "category", "values": sorted(set(cells))}
        if isinstance(cells, list)
        else {"type": "float", "nullable": True}
        for name, cells in columns.items()
        if name != "at"
    }
    frame = pl.DataFrame({**columns, "y": target})
    told: dict[str, Any] = {"columns": rules, "target": {"name": "y", "classes": list(kind.classes)}}
    return frame, Contract.model_validate({**told, **({"event_time": "at"} if kind.by_time else {})})


def held_out(kind: Kind, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    n = frame.height
    return np.arange(n) >= 0.8 * n if kind.by_time else np.random.default_rng(1).random(n) < 0.2


def ten_lines(train: pd.DataFrame, y: npt.NDArray[Any], asked: pd.DataFrame, classes: bool) -> dict[str, Any]:
    """What is written first, and what it says of the rows *asked*: trees over codes, and a line over one-hot columns.

    The line is of a logarithm where nothing is below 0.
    """
    wide = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object)),
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_column_selector(dtype_exclude=object),
        ),
    )
    coded = [part.astype(dict.fromkeys(part.select_dtypes(object), "category")) for part in (train, asked)]
    if classes:
        trees = HistGradientBoostingClassifier(categorical_features="from_dtype").fit(coded[0], y.astype(int))
        line = make_pipeline(wide, LogisticRegression(max_iter=2000)).fit(train, y.astype(int))
        return {"trees": trees.predict_proba(coded[1]), "line": line.predict_proba(asked)}
    trees = HistGradientBoostingRegressor(categorical_features="from_dtype").fit(coded[0], y)
    ridge = Ridge() if y.min() < 0 else TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1)
    line = make_pipeline(wide, ridge).fit(train, y)
    return {"trees": trees.predict(coded[1]), "line": line.predict(asked)}


def figure(contract: Contract, target: npt.NDArray[Any], said: npt.NDArray[Any]) -> float:
    return metrics.compute(contract.task, target, said)[metrics.leading(contract.task).name]


def measure(name: str, seconds: float, seed: int = 0) -> str:
    """One line of the table."""
    kind = KINDS[name]
    frame, contract = table_of(kind, seed)
    out = held_out(kind, frame)
    train, test = frame.filter(~out), frame.filter(out)
    (x, y), (new, truth) = (matrix_and_target(part, contract) for part in (train, test))
    told = ten_lines(contract.frame(x), y, contract.frame(new), bool(contract.target.classes))
    found = {word: figure(contract, truth, said) for word, said in told.items()}
    model, started = ModelSpec(family="auto"), time.monotonic()
    policy, wanted = SplitPolicy(by="time" if kind.by_time else "random"), Search(timeout=parse(f"{seconds:g}s"))
    tuning = tune_families(train, contract, FeatureSpec(), model, wanted, policy, seed)
    pipeline = fit_recipe(x, y, contract, FeatureSpec(), model, seed, tuning.best_params)
    took = time.monotonic() - started
    ours = figure(contract, truth, predict(pipeline, contract, new))
    ratio = ours / min(found.values()) - 1
    words = named(model, tuning.best_params)
    return (
        f"| {name} | {found['trees']:,.4g} | {found['line']:,.4g} | {ours:,.4g} | {ratio:+.1%} | {len(tuning.trials)} |"
        f" {took:.0f} | {one_row(pipeline, contract, new):.3f} | {words} |"
    )


def one_row(pipeline: Any, contract: Contract, matrix: Any) -> float:
    """Milliseconds of this process for one row in the fast form, the median of many."""
    fast = compile_pipeline(pipeline, contract)
    if isinstance(fast, Declined):
        return float("nan")
    times = []
    for place in range(min(500, len(matrix))):
        row = np.ascontiguousarray(matrix[place : place + 1])
        begun = time.process_time_ns()
        fast.score(row)
        times.append(time.process_time_ns() - begun)
    return float(np.median(times)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("tables", nargs="*")
    asked = parser.parse_args()
    print("| table | trees, codes | line, one-hot | auto | beside the better | trials | s | one row, ms | what it is |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for name in KINDS:
        if not asked.tables or any(word in name for word in asked.tables):
            print(measure(name, asked.seconds, asked.seed), flush=True)


if __name__ == "__main__":
    main()

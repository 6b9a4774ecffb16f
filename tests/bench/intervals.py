"""``python -m tests.bench.intervals``, or ``make bench-intervals``: how many truths intervals cover, as Markdown.

Six made tables, each with what makes intervals hard: errors that grow, lean to a side, or have heavy tails; rows of one
thing that are alike; a level that wanders in time. Each is judged on many rows that no model has seen.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.modelling.saying import Says, said_besides
from serving.bundle.judgement import Judgement
from serving.contract import Contract

Draw = Callable[[np.random.Generator, int], tuple[Any, Any, pl.DataFrame]]
LEVELS = (50, 80, 90, 95)
RULES = Contract.model_validate(
    {"columns": {"a": {"type": "float"}, "b": {"type": "float"}}, "target": "y", "key": "id", "event_time": "at"}
)


def _table(rows: int, ids: Any = None) -> pl.DataFrame:
    start = pl.datetime_range(pl.datetime(2020, 1, 1), interval="1h", end=pl.datetime(2030, 1, 1), eager=True)[:rows]
    named = np.arange(rows) if ids is None else ids
    return pl.DataFrame({"id": named.astype(str), "at": start.dt.to_string("iso")})


def _with(noise: Callable[[np.random.Generator, Any], Any], random: np.random.Generator, rows: int) -> Any:
    """Rows of two columns, a curved target, and the *noise* of its mean."""
    x = random.normal(size=(rows, 2))
    mean = 5 * x[:, 0] + 3 * np.sin(2 * x[:, 1])
    return x, mean + noise(random, mean), _table(rows)


def _alike(random: np.random.Generator, rows: int) -> Any:
    """Four rows of each thing, which share most of their error."""
    ids = np.arange(rows) // 4
    x = np.repeat(random.normal(size=(rows // 4 + 1, 2)), 4, axis=0)[:rows] + 0.1 * random.normal(size=(rows, 2))
    own = np.repeat(random.normal(0, 2, rows // 4 + 1), 4)[:rows]
    return x, 5 * x[:, 0] + own + random.normal(size=rows), _table(rows, ids)


def _wandering(random: np.random.Generator, rows: int) -> Any:
    """A season that comes again within the rows, unknown to the columns."""
    x = random.normal(size=(rows, 2))
    season = 2 * np.sin(np.arange(rows) / 40)
    return x, 5 * x[:, 0] + season + random.normal(size=rows), _table(rows)


TABLES: dict[str, tuple[Draw, SplitPolicy]] = {
    "errors of one size": (
        partial(_with, lambda r, mean: r.normal(0, 2, len(mean))),
        SplitPolicy(by="random", holdout=0.5),
    ),
    "errors that grow": (
        partial(_with, lambda r, mean: r.normal(size=len(mean)) * (0.5 + np.abs(mean - mean.min()) / 4)),
        SplitPolicy(by="random", holdout=0.5),
    ),
    "errors to one side": (
        partial(_with, lambda r, mean: r.lognormal(0, 1, len(mean))),
        SplitPolicy(by="random", holdout=0.5),
    ),
    "heavy tails": (
        partial(_with, lambda r, mean: r.standard_t(2.5, len(mean))),
        SplitPolicy(by="random", holdout=0.5),
    ),
    "rows of one thing alike": (_alike, SplitPolicy(by="group", holdout=0.5)),
    "a season, by time": (_wandering, SplitPolicy(by="time", holdout=0.5)),
}


def fitted(name: str, rows: int, seed: int) -> tuple[Judgement, Any, Any]:
    """The judgement of a model of *rows* rows of a table, and (predictions, truths) of as many that it has not seen."""
    draw, policy = TABLES[name]
    x, y, table = draw(np.random.default_rng(seed), 2 * rows)
    rule = SplitRule(policy=policy, seed=0).model_dump_json()

    def fit(chosen: Any) -> Any:
        with threadpool_limits(limits=1):
            return HistGradientBoostingRegressor(max_iter=60, early_stopping=False).fit(x[chosen], y[chosen]).predict

    made = said_besides(Says(interval=0.9), (table[:rows], RULES, rule, x[:rows], y[:rows]), fit)
    return made, fit(np.arange(rows))(x[rows:]), y[rows:]


def coverage(name: str, rows: int = 6_000, seeds: int = 3) -> dict[int, float]:
    """Share of truths within the intervals of each of ``LEVELS``, mean over *seeds* tables."""
    found = []
    for seed in range(seeds):
        made, predicted, truth = fitted(name, rows, seed)
        assert made.widths is not None
        ends = [made.widths.bounds(predicted, level) for level in LEVELS]
        found.append([np.mean((low <= truth) & (truth <= high)) for low, high in (each.T for each in ends)])
    return dict(zip(LEVELS, np.mean(found, axis=0).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print(f"| truths covered, of {asked.rows:,} rows not seen | {' | '.join(f'{one} %' for one in LEVELS)} |")
    print(f"|---|{'---:|' * len(LEVELS)}")
    for name in TABLES:
        seen = coverage(name, asked.rows, asked.seeds)
        print(f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in seen.values())} |")


if __name__ == "__main__":
    main()

"""Made worlds and small models of them, judged as a run judges.

The worlds are made, so that it is known what is wrong: a table of homes with a trend and regions, one of two classes of
which one is rare, one of three. A model is a small scikit-learn pipeline on the coded matrix; it is judged as a run
judges it, by ``examined`` and ``beside``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.data.tables import matrix_and_target
from components.judging.answers import examined
from components.judging.comparison import beside
from components.judging.gates import Gate, GateReport, Guards, judge
from components.judging.suspicion import learned
from serving.bundle.judgement import Judgement
from serving.contract import Contract

Score = Callable[[Any], Any]
REGIONS = ("coast", "city", "hills", "plain")
NOTHING = SplitRule(policy=SplitPolicy(by="time", holdout=0.2), seed=0)
REGRESSION = (
    Gate(metric="rmse", at_most=30),
    Gate(metric="bias", at_most=6),
    Gate(metric="rmse", slice="region", worst=40),
    Gate(metric="rmse", against="champion", tolerance="1%"),
)
CLASSES = (
    Gate(metric="roc_auc", at_least=0.7),
    Gate(metric="calibration", at_most=0.06),
    Gate(metric="recall", at_least=0.05),
    Gate(metric="roc_auc", slice="region", worst=0.6),
    Gate(metric="log_loss", against="champion", tolerance="1%"),
)


@dataclass(frozen=True)
class World:
    """Training rows, held-out rows, and what a project demands of a model of them.

    Attributes:
        trained: what the model really learned from; by default the training rows.
    """

    contract: Contract
    train: pl.DataFrame
    holdout: pl.DataFrame
    gates: tuple[Gate, ...]
    trained: pl.DataFrame | None = None

    def fitted(self, *, trees: bool = False, seed: int = 0) -> Score:
        """A healthy model of the rows that it learns from."""
        matrix, target = matrix_and_target(self.train if self.trained is None else self.trained, self.contract)
        return fit(matrix, target, classes=len(self.contract.target.classes), trees=trees, seed=seed)


def fit(matrix: Any, target: Any, *, classes: int, trees: bool = False, seed: int = 0) -> Score:
    """The scorer of a small model: linear in numbers and regions, or a few trees."""
    if trees:
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        model = kind(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500) if classes else Ridge())
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(matrix[:, -1:])

    def wide(rows: Any) -> Any:
        return np.column_stack([rows[:, :-1], encoder.transform(rows[:, -1:])])

    with threadpool_limits(limits=1):
        model.fit(wide(matrix), target.astype(int) if classes else target)
    answer = model.predict_proba if classes else model.predict
    return lambda rows: np.asarray(answer(wide(rows)), dtype=np.float64)


@cache
def homes(seed: int = 0, rows: int = 4_000) -> World:
    """Prices by size, age and region, noise of 20; hourly, the newest quarter held out."""
    random = np.random.default_rng(seed)
    size, age, region = random.uniform(30, 200, rows), random.uniform(0, 80, rows), random.integers(0, 4, rows)
    price = 2 * size - age + np.array([80, 60, 20, 0])[region] + random.normal(0, 20, rows)
    table = _table(rows, {"size": size, "age": age}, region).with_columns(price=pl.Series(price))
    return _world(table, {"name": "price"}, ("size", "age"), REGRESSION)


@cache
def series(seed: int = 0, rows: int = 4_000) -> World:
    """A level that wanders slowly, and columns that say little of it: the value before says nearly all."""
    random = np.random.default_rng(seed)
    level = np.zeros(rows)
    for hour in range(1, rows):
        level[hour] = 0.99 * level[hour - 1] + random.normal(0, 4)
    size, age, region = level + random.normal(0, 40, rows), random.uniform(0, 80, rows), random.integers(0, 4, rows)
    table = _table(rows, {"size": size, "age": age}, region).with_columns(price=pl.Series(level + 300))
    return _world(table, {"name": "price"}, ("size", "age"), REGRESSION[:1])


@cache
def calls(seed: int = 0, rows: int = 4_000, classes: int = 2) -> World:
    """Who says yes, a fifth of all; or which of three."""
    random = np.random.default_rng(seed)
    size, age, region = random.normal(size=rows), random.normal(size=rows), random.integers(0, 4, rows)
    pull = 1.5 * size - age + np.array([0.6, 0, 0, -0.6])[region]
    scores = np.column_stack([np.zeros(rows), pull - 1.8, -pull - 0.6][:classes])
    chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    said = (random.random((rows, 1)) > chance.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    names = ("no", "yes", "maybe")[:classes]
    table = _table(rows, {"size": size, "age": age}, region).with_columns(said=pl.Series([names[one] for one in said]))
    return _world(table, {"name": "said", "classes": names}, ("size", "age"), CLASSES)


def _table(rows: int, numbers: dict[str, Any], region: Any) -> pl.DataFrame:
    start = pl.datetime_range(pl.datetime(2026, 1, 1), interval="1h", end=pl.datetime(2031, 1, 1), eager=True)[:rows]
    return pl.DataFrame({**numbers, "region": [REGIONS[one] for one in region], "at": start.dt.to_string("iso")})


def _world(table: pl.DataFrame, target: dict[str, Any], numbers: tuple[str, ...], gates: tuple[Gate, ...]) -> World:
    columns: dict[str, Any] = {name: {"type": "float"} for name in numbers}
    columns["region"] = {"type": "category", "values": REGIONS}
    contract = Contract.model_validate({"columns": columns, "target": target, "event_time": "at"})
    cut = table.height * 3 // 4
    return World(contract, table[:cut], table[cut:], gates)


def bundle(world: World, score: Score) -> Any:
    """What a run opens of a model that learned from the world's rows."""
    rows = world.train if world.trained is None else world.trained
    facts = learned(*matrix_and_target(rows, world.contract), world.contract)
    kept = NOTHING.model_copy(update={"boundary": None})
    rule = kept.model_copy(update={"boundary": pl.Series(world.train["at"]).str.to_datetime().max()})
    return SimpleNamespace(
        contract=world.contract,
        scorer=SimpleNamespace(score=score),
        golden=matrix_and_target(rows.head(32), world.contract)[0],
        split=rule.model_dump_json(),
        judgement=Judgement(learned=facts),
    )


def verdict(world: World, score: Score, champion: Score | None = None) -> GateReport:
    """What the gates and guards of the world say of the model *score*."""
    guards = Guards().gates(world.contract, None, world.gates, late=False)
    slices = ("region",)
    ours = bundle(world, score)
    judged = examined(ours, world.holdout, slices)
    if champion is None:
        return judge(judged, None, world.gates, guards=guards)
    theirs = bundle(world, champion)
    return beside(lambda: theirs, lambda: ours, lambda: world.holdout, judged, world.gates, slices, guards)[0]

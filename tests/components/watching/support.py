"""A small market, a quick model of it, and the log its answers would have left."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import polars as pl

from components.data.moments import within
from components.data.tables import matrix_and_target
from components.judging import metrics
from components.modelling import profiles
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.training import fit, predict
from components.projects import project as projects
from components.watching.counts import LoggedCounts
from components.watching.labels import Labelled
from components.watching.policy import Watch
from components.watching.values import ServiceFigures, WatchReport
from components.watching.watch import watch
from pipelines.housing import market
from serving.contract import Contract
from serving.profile import Profile
from tests.root import HOUSING

PROJECT = projects.load(HOUSING)
CONTRACT = PROJECT.contract
ROWS = 300
MODEL = ModelSpec.model_validate({"family": "hist_gradient_boosting", "params": {"max_iter": 60}})
NOW = datetime(2026, 6, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Served:
    """A model trained on 24 calm (or seasonal) months, and what it was like then."""

    pipeline: Any
    profile: Profile


@lru_cache
def served(world: str = "calm") -> Served:
    rows = market.sales(world, range(24), rows_per_month=ROWS, dirty=0)
    boundary = datetime(2025, 11, 1)
    train, holdout = rows.filter(pl.col("sold_at") < boundary), rows.filter(pl.col("sold_at") >= boundary)
    matrix, target = matrix_and_target(train, CONTRACT)
    pipeline = fit(matrix, target, CONTRACT, FeatureSpec(), MODEL, 0)
    unseen, truth = matrix_and_target(holdout, CONTRACT)
    prediction = predict(pipeline, CONTRACT, unseen)
    values = metrics.compute("regression", truth, prediction)
    return Served(pipeline, profiles.profile(matrix, CONTRACT, prediction, truth, values))


def played(world: str, months: range = range(24, 27), model: Served | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The log and the labels after buyers asked about every sale of *months* in *world*."""
    rows = market.sales(world, months, rows_per_month=ROWS, dirty=0)
    matrix, _ = matrix_and_target(rows, CONTRACT)
    answers = predict((model or served()).pipeline, CONTRACT, matrix)
    log = logged(rows.select(CONTRACT.names), answers.tolist())
    labels = pl.DataFrame({"request_id": log["request_id"]}).hstack(rows.select("price", "label_at", "sold_at"))
    return log, labels


def logged(features: pl.DataFrame, predictions: list[Any], **columns: Any) -> pl.DataFrame:
    """A prediction log as ``prediction_log.read`` returns it: one request per row, a second apart."""
    n = len(predictions)
    base: dict[str, Any] = {
        "request_id": [f"r{i:06d}" for i in range(n)],
        "correlation_id": pl.Series([None] * n, dtype=pl.String),
        "row": [0] * n,
        "time": [datetime(2026, 6, 1) + timedelta(seconds=i) for i in range(n)],
        "version": ["1"] * n,
        "prediction": predictions,
        "probabilities": pl.Series([None] * n, dtype=pl.List(pl.Float64)),
        "latency_ms": [float(i % 100) for i in range(n)],
        "flagged": pl.Series([[]] * n, dtype=pl.List(pl.String)),
    }
    kinds = {"request_id": pl.String, "row": pl.Int64, "time": pl.Datetime("us"), "latency_ms": pl.Float64}
    table = pl.DataFrame({**base, **columns}, schema_overrides=kinds)
    return table.with_columns(pl.Series("features", features.to_struct()))


def contract(target: Mapping[str, Any] | None = None, **columns: Mapping[str, Any]) -> Contract:
    return Contract.model_validate(
        {"columns": columns or {"x": {"type": "float"}}, "target": target or {"name": "y"}, "event_time": "happened_at"}
    )


def judged(
    log: pl.DataFrame,
    labelled: Labelled | None,
    profile: Profile,
    contract: Contract,
    policy: Watch,
    service: ServiceFigures,
    as_of: datetime,
    *,
    answered: datetime | None = None,
    **names: Any,
) -> WatchReport:
    """``watch`` after the window of *log* was counted in parts of 100 rows."""
    mine = pl.col("version") == names["version"] if names.get("version") else pl.lit(value=True)
    counts = LoggedCounts(profile, contract)
    for part in log.iter_slices(100):
        counts.add(part.filter(mine & within(pl.col("time"), answered or as_of, policy.window)))
    drift = counts.drift(policy.drift)
    return watch(
        log.drop("features", strict=False), labelled, drift, profile, contract, policy, service, as_of, **names
    )

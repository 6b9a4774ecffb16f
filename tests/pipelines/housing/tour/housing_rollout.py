"""The housing market rolled out in earnest: models in signed bundles, the predictor that serves them, and buyers."""

import contextlib
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no annotations

from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec, build_pipeline
from components.modelling.profiles import profile
from components.projects import project as projects
from pipelines import housing
from pipelines.housing import market
from pipelines.housing.tour.buyers import Crowd, Replies, Request, requests_of, send
from serving.bundle.bundle import write_bundle
from serving.bundle.signing import SigningKey
from serving.contract import Matrix
from serving.files import write_bytes
from serving.local import client
from serving.local.counting import read_counts
from serving.local.extras import append_labels
from serving.local.paths import service_paths
from serving.local.servers import predictor_command
from serving.rollout.plan import RolloutPlan
from serving.rollout.state import RolloutState
from tests.serving.local.rollout_live import MODEL, TIMES, LiveService, again_and_again, plan, serve_live

CONTRACT = projects.load(Path(housing.__file__).with_name("project.yaml")).contract
CLIENTS, PACE_S = 4, 0.002  # fewer requests than could be had: buyers, Envoy and three models share two cores
SLOW_OVER_P99 = 8.0
GOLDEN = 100
KEY = "trusted.pub"

# --- the market, and models of it -----------------------------------------------------------------------------------


class Rows(NamedTuple):
    """A coded matrix and the prices in EUR that were paid."""

    matrix: Matrix
    prices: Any

    def where(self, chosen: Any) -> "Rows":
        return Rows(self.matrix[chosen], self.prices[chosen])


@functools.cache
def sales() -> tuple[Rows, Rows, pl.DataFrame]:
    """4,000 sales to learn from, 1,200 held out, and the newest as a table, which buyers ask about."""
    table = market.sales("calm", range(6), dirty=0.0)
    rows = Rows(CONTRACT.encode(table.select(CONTRACT.names).to_pandas()), table["price"].to_numpy())
    return rows.where(slice(4_000)), rows.where(slice(4_000, 5_200)), table[5_200:]


class Made(NamedTuple):
    """A fitted pipeline, and rows that it can answer, for its profile and golden rows."""

    pipeline: Pipeline
    rows: Rows


Maker = Callable[[int], Made]
HGB = "hist_gradient_boosting"
DECENT = ModelSpec(family=HGB, params={"max_iter": 30, "max_leaf_nodes": 3, "learning_rate": 0.3})
BETTER = ModelSpec(family=HGB, params={"max_iter": 300, "max_leaf_nodes": 6})


def decent(seed: int) -> Made:
    """Off by an eighth of the price; each seed draws its own rows."""
    return _learned(build_pipeline(CONTRACT, FeatureSpec(), DECENT, seed), _drawn(seed))


def better(seed: int) -> Made:
    """Off by a twelfth of the price, which is little more than what no column explains."""
    return _learned(build_pipeline(CONTRACT, FeatureSpec(transforms={"area_m2": "log"}), BETTER, seed), _drawn(seed))


def inflated(seed: int) -> Made:
    """``decent``, but every price is 1.4 times what was paid, as if in another currency."""
    rows = _drawn(seed)
    return _learned(build_pipeline(CONTRACT, FeatureSpec(), DECENT, seed), Rows(rows.matrix, 1.4 * rows.prices))


def mixed_up(seed: int) -> Made:
    """Prices as they are paid, but for other homes: a full-grown tree of a table whose target column was shuffled."""
    rows = _drawn(seed)
    shuffled = np.random.default_rng(seed).permutation(rows.prices)
    tree = build_pipeline(CONTRACT, FeatureSpec(), ModelSpec(family="decision_tree"), seed)
    return _learned(tree, Rows(rows.matrix, shuffled))


def dwellings_only(seed: int) -> Made:
    """Learned without plots of land, whose empty fields it cannot take, though the contract allows them."""
    rows, held = _drawn(seed), sales()[1]
    words = [name for name in CONTRACT.names if CONTRACT.columns[name].type == "category"]
    numbers = [name for name in CONTRACT.names if name not in words]
    encoded = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("words", encoded, words), ("numbers", StandardScaler(), numbers)])
    made = _learned(Pipeline([("columns", columns), ("model", Ridge())]), rows.where(_is_dwelling(rows)))
    return made._replace(rows=held.where(_is_dwelling(held)))


def overflowing(seed: int) -> Made:
    """Ridge with one coefficient so large that only the smallest area the contract allows, which nobody sells, fits."""
    made = _learned(build_pipeline(CONTRACT, FeatureSpec(scale="none"), ModelSpec(family="ridge"), seed), _drawn(seed))
    area = list(made.pipeline["columns"].get_feature_names_out()).index("area_m2")
    made.pipeline["model"].coef_[area] = 1e307
    small = made.rows.matrix.copy()
    small[:, CONTRACT.names.index("area_m2")] = 15.0
    return made._replace(rows=Rows(small, made.rows.prices))


def sluggish(seed: int) -> Made:
    """``decent`` behind sixty copies of each column, whose weight leaves the pipeline without a fast form."""
    pipeline = build_pipeline(CONTRACT, FeatureSpec(), DECENT, seed)
    once = pipeline["columns"].transformers
    often = [(f"{name}-{copy}", step, columns) for copy in range(60) for name, step, columns in once]
    pipeline["columns"].set_params(transformers=often, transformer_weights={"area_m2-0": 1.0})
    return _learned(pipeline, _drawn(seed))


def _drawn(seed: int) -> Rows:
    """As many of the sales to learn from as there are, drawn with replacement."""
    rows = sales()[0]
    return rows.where(np.random.default_rng(seed).integers(0, len(rows.prices), len(rows.prices)))


def _is_dwelling(rows: Rows) -> Any:
    return ~np.isnan(rows.matrix[:, CONTRACT.names.index("rooms")])


def _learned(pipeline: Pipeline, rows: Rows) -> Made:
    with threadpool_limits(limits=1):
        return Made(pipeline.fit(CONTRACT.frame(rows.matrix), rows.prices), sales()[1])


# --- the service ----------------------------------------------------------------------------------------------------


@dataclass
class HousingService(LiveService):
    """A service whose versions are real models, and the buyers who ask it.

    Attributes:
        slow_ms: what the plans call slow; a figure of this machine, see ``calibrate``.
    """

    slow_ms: float = 1_000.0
    key: SigningKey = field(default_factory=SigningKey.generate)

    def command(self, port: int = 0) -> list[str]:
        write_bytes(self.directory / KEY, self.key.public.pem)
        return [sys.executable, "-m", "tests.pipelines.housing.tour.housing_rollout", str(self.directory), str(port)]

    def version(self, **behaviour: object) -> int:
        """A decent one: what real models do is not told them."""
        assert not behaviour
        return self.trained()

    def trained(self, make: Maker = decent) -> int:
        """A new approved version of what *make* gives for a seed of its own."""
        self._known += 1
        pipeline, held = make(self._known)
        bundle = self.directory / "bundles" / str(self._known)
        told = profile(sales()[0].matrix, CONTRACT, pipeline.predict(CONTRACT.frame(held.matrix)), held.prices)
        digest = write_bundle(
            bundle,
            pipeline=pipeline,
            contract=CONTRACT,
            profile=told,
            golden=held.matrix[:GOLDEN],
            card="",
            provenance={"seed": self._known},
            key=self.key,
        )
        return self.approved(digest, bundle.as_uri())

    def calibrate(self) -> None:
        """Call slow what is a multiple of the 99th percentile of the version that serves, under the same buyers."""
        with self._crowd("calibration") as crowd:
            client.wait_for(lambda: len(crowd.replies) >= 2_000 or None, 60, lambda: "nobody answers")
        arms = [arm for epoch in read_counts(service_paths(self.directory)).epochs.values() for arm in epoch.values()]
        self.slow_ms = SLOW_OVER_P99 * max(arm.quantile_ms(0.99) or 1 for arm in arms)

    def plan(self, **changes: Any) -> RolloutPlan:
        """Few steps and short times; real models take longer to load than stubs.

        The budget of errors is wide, so that evidence decides even if a busy machine makes a look come late.
        """
        gates = {"slow": {"slo": f"{self.slow_ms / 1_000:.3f}s"}, **changes.pop("gates", {})}
        usual = {"steps": [10, 50], "time": {**TIMES, "ready": "120s"}, "risk": {"max_canary_errors": 1_000}}
        return plan(**{**usual, "gates": gates, **changes})

    def rolled_out(self, version: int, wanted: RolloutPlan, *, labels: bool) -> tuple[RolloutState, Replies]:
        """Release *version* while buyers ask; its end, and every answer that they got."""
        with self._crowd(f"r{version}") as crowd, labelled(self, crowd.replies) if labels else contextlib.nullcontext():
            self.release(version, wanted)
            state = self.ended(version)
        return state, crowd.replies

    def asked(self, count: int) -> Replies:
        return send(client.endpoint(self.directory), MODEL, _requests("later")[:count])

    def _crowd(self, name: str) -> Crowd:
        return Crowd(client.endpoint(self.directory), MODEL, _requests(name), clients=CLIENTS, pace_s=PACE_S)


def _requests(name: str) -> list[Request]:
    """What buyers ask; *name* keeps the ids of two rollouts apart, as a label belongs to one answer."""
    return requests_of(sales()[2].to_dicts(), CONTRACT, prefix=f"{name}:")


def labelled(house: HousingService, replies: Replies) -> contextlib.AbstractContextManager[None]:
    """Every price that was paid is told as soon as somebody was told a prediction of it."""
    paid = dict(sales()[2].select("sale_id", "price").iter_rows())
    known = 0

    def feed() -> None:
        nonlocal known
        fresh = replies.replies[known:]
        known += len(fresh)
        append_labels(house.directory, {reply.request_id: paid[sale_of(reply.request_id)] for reply in fresh})

    return again_and_again(feed)


def sale_of(request_id: str) -> str:
    """The sale a request is about: ``r2:S202401-000007-1`` is the second question about S202401-000007."""
    return "-".join(request_id.partition(":")[2].split("-")[:2])


if __name__ == "__main__":
    served, listener_port = sys.argv[1:]
    serve_live(Path(served), int(listener_port), command=predictor_command(Path(served) / KEY))

"""Trees scored here and by other libraries: ``python -m tests.bench.trees [--peers PYTHON] [--rounds 5]``.

One model of each case in every form: boosted trees of LightGBM and of XGBoost with 31, 64 and 255 leaves, and a forest
of 100 deep trees. Contestants take turns, round after round; a figure is the median of the rounds' fastest calls. YDF
reads nobody else's trees and gets a model of its own of the same size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract import Matrix
from serving.scoring import kernels
from serving.scoring.trees import Forest

TREES, DEEP, WIDTH, TRAINED = 300, 100, 20, 20_000
LEAVES, ROWS = (31, 64, 255), (1, 100, 10_000)
CALLS = {1: 300, 100: 60, 10_000: 3}
OF_LIGHTGBM = ("lightgbm", "lleaves", "onnxruntime", "tl2cgen", "ydf")
OF_FOREST = ("sklearn", "onnxruntime")  # of so many nodes a C compiler makes no library within an hour


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        peers: who scores it in other forms.
        score: ours. own: the predictions of the library that trained it, which ours have to equal to the last bit.
    """

    name: str
    title: str
    peers: tuple[str, ...]
    score: Callable[[Matrix], Matrix]
    own: Matrix
    rows: Matrix


def table(seed: int, rows: int) -> tuple[Matrix, Matrix]:
    """Features that float32 holds too, since some libraries compare in it, and a target that bends and jumps."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, WIDTH)).astype(np.float32).astype(np.float64)
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + (x[:, 3] > 0.5) * x[:, 4] + random.normal(size=rows) * 0.3
    return x, y


def cases(folder: Path) -> Iterator[Case]:
    """Each case, with its files in *folder* for the peers."""
    x, y = table(0, TRAINED)
    rows, _ = table(1, max(ROWS))
    for leaves in LEAVES:
        for make in (_lightgbm, _xgboost):
            yield make(folder, leaves, x, y, rows)
    yield _deep(folder, x, y, rows)


def _folder(folder: Path, name: str, x: Matrix, y: Matrix, rows: Matrix, **told: int) -> Path:
    place = folder / name
    place.mkdir()
    for file, array in (("train", x), ("target", y), ("rows", rows)):
        np.save(place / f"{file}.npy", array)
    (place / "case.json").write_text(json.dumps(told))
    return place


def _flat(forest: Forest, narrow: bool) -> Callable[[Matrix], Matrix]:
    """Scoring as a bundle's fast form does it, with its rounding of features."""

    def score(rows: Matrix) -> Matrix:
        return forest.raw(rows.astype(np.float32).astype(np.float64) if narrow else rows)[:, 0]

    return score


def _lightgbm(folder: Path, leaves: int, x: Matrix, y: Matrix, rows: Matrix) -> Case:
    import lightgbm

    from components.modelling.boosters import lightgbm_trees

    model = lightgbm.LGBMRegressor(
        n_estimators=TREES, num_leaves=leaves, min_child_samples=5, n_jobs=1, verbose=-1, random_state=0
    ).fit(x, y)
    place = _folder(folder, f"lightgbm-{leaves}", x, y, rows, trees=TREES, leaves=leaves)
    model.booster_.save_model(str(place / "lightgbm.txt"))
    planted = lightgbm_trees(model)
    own = np.asarray(model.booster_.predict(rows, num_threads=1))
    title = f"LightGBM, {TREES} trees of {leaves} leaves"
    return Case(place.name, title, OF_LIGHTGBM, _flat(planted.forest, planted.narrow), own, rows)


def _xgboost(folder: Path, leaves: int, x: Matrix, y: Matrix, rows: Matrix) -> Case:
    import xgboost

    from components.modelling.boosters import xgboost_trees

    model = xgboost.XGBRegressor(
        n_estimators=TREES, max_leaves=leaves, max_depth=0, grow_policy="lossguide", n_jobs=1, random_state=0
    ).fit(x, y)
    place = _folder(folder, f"xgboost-{leaves}", x, y, rows, trees=TREES, leaves=leaves)
    model.save_model(str(place / "xgboost.json"))
    planted = xgboost_trees(model)
    own = np.asarray(model.predict(rows), np.float64)
    title = f"XGBoost, {TREES} trees of {leaves} leaves"
    return Case(place.name, title, ("xgboost",), _flat(planted.forest, planted.narrow), own, rows)


def _deep(folder: Path, x: Matrix, y: Matrix, rows: Matrix) -> Case:
    import joblib
    from sklearn.ensemble import RandomForestRegressor

    from serving.scoring.estimators import compile_estimator

    model = RandomForestRegressor(DEEP, random_state=0, n_jobs=1).fit(x, y)
    place = _folder(folder, "forest", x, y, rows, trees=DEEP, leaves=0)
    joblib.dump(model, place / "forest.joblib")
    core = compile_estimator(model, sparse=False)
    assert isinstance(core.sums, Forest)
    assert core.accepts != kernels.ANY
    return Case(
        "forest",
        f"scikit-learn, {DEEP} deep trees",
        OF_FOREST,
        _flat(core.sums, core.narrow),
        model.predict(rows),
        rows,
    )


class Peers:
    """The process of the other libraries; *python* is the interpreter of their environment."""

    def __init__(self, python: str, folder: Path) -> None:
        script = Path(__file__).with_name("tree_peers.py")
        quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, str(script), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=quiet,
        )  # fmt: skip

    def ask(self, case: str, peer: str, rows: int) -> dict[str, Any]:
        """What it says of one measurement."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{case} {peer} {rows} {CALLS[rows]}\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("{"):  # some print while they compile
            if not line:
                raise SystemExit(f"the process of the peers ended at {case} {peer}; is its environment complete?")
        told: dict[str, Any] = json.loads(line)
        return told

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


def ours(case: Case, count: int) -> float:
    """Seconds of the fastest of some calls."""
    rows = np.ascontiguousarray(case.rows[:count])
    case.score(rows)
    best = float("inf")
    for _ in range(CALLS[count]):
        began = time.perf_counter()
        case.score(rows)
        best = min(best, time.perf_counter() - began)
    return best


def line(case: Case, count: int, peers: Peers, rounds: int) -> str:
    """One row of the table: microseconds of ours and of each peer, and how many times the fastest peer takes."""
    seen: dict[str, list[float]] = {name: [] for name in ("ours", *case.peers)}
    for _ in range(rounds):
        seen["ours"].append(ours(case, count))
        for peer in case.peers:
            told = peers.ask(case.name, peer, count)
            if "seconds" in told:
                seen[peer].append(told["seconds"])
            else:
                print(f"{case.name} {peer}: {told['fault']}", file=sys.stderr)
    times = {name: statistics.median(found) * 1e6 for name, found in seen.items() if found}
    best = min(value for name, value in times.items() if name != "ours")
    shown = ", ".join(
        f"{name} {value:,.0f}" for name, value in sorted(times.items(), key=lambda one: one[1]) if name != "ours"
    )
    exact = "yes" if np.array_equal(case.score(case.rows), case.own) else "NO"
    return f"| {case.title} | {count:,} | {times['ours']:,.1f} | {shown} | {best / times['ours']:.1f} | {exact} |"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--peers", default=sys.executable, help="interpreter of an environment with the other libraries"
    )
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    print("| model | rows | ours, us | others, us | fastest other / ours | equal to its library |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="slipway-trees-") as name:
        made = list(cases(Path(name)))
        peers = Peers(given.peers, Path(name))
        try:
            for case in made:
                for count in ROWS:
                    print(line(case, count, peers, given.rounds), flush=True)
        finally:
            peers.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One tool for automatic machine learning in a process of its own: ``PYTHON automl_peers.py FOLDER TOOL SECONDS``.

FOLDER holds ``train.parquet``, ``asked.parquet`` and ``task.json``, as ``tests.bench.automl`` writes them; this file
imports nothing of ours, since the environment has none of it. What the tool says of the rows that are asked about is
left in ``said.npy``; the last line that is printed are its figures as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Say = Callable[[pd.DataFrame], Any]
ONE_BY_ONE = 30  # rows of which each is asked for alone


def autogluon(presets: str) -> Callable[[pd.DataFrame, dict[str, Any], float, Path], Say]:
    """With the metric that is judged by; it makes features of moments itself."""

    def fitted(train: pd.DataFrame, task: dict[str, Any], seconds: float, folder: Path) -> Say:
        from autogluon.tabular import TabularPredictor

        metric = "log_loss" if task["classes"] else "root_mean_squared_error"
        told = {"presets": presets, "time_limit": seconds, "num_cpus": task["cores"]}
        try:
            predictor = TabularPredictor(task["target"], eval_metric=metric, path=str(folder / "models"), verbosity=0)
            predictor.fit(train, **told)
        except (
            AssertionError
        ):  # of its own rehearsal of stacking, in short times; without that it gets all of them again
            predictor = TabularPredictor(task["target"], eval_metric=metric, path=str(folder / "again"), verbosity=0)
            predictor.fit(train, dynamic_stacking=False, **told)
        predictor.persist()
        if task["classes"]:
            return lambda rows: predictor.predict_proba(rows)[task["classes"]].to_numpy()
        return lambda rows: predictor.predict(rows).to_numpy()

    return fitted


def flaml(train: pd.DataFrame, task: dict[str, Any], seconds: float, _folder: Path) -> Say:
    """Told that rows are in the order of time, where they are."""
    from flaml import AutoML

    model, target = AutoML(), task["target"]
    told = {"split_type": "time"} if task["by_time"] else {}
    model.fit(
        train.drop(columns=target), train[target], time_budget=seconds, n_jobs=task["cores"], seed=0, verbose=0,
        task="classification" if task["classes"] else "regression",
        metric="log_loss" if task["classes"] else "rmse", **told,
    )  # fmt: skip
    if task["classes"]:
        order = [list(model.classes_).index(word) for word in task["classes"]]
        return lambda rows: model.predict_proba(rows)[:, order]
    return lambda rows: np.asarray(model.predict(rows))


TOOLS = {
    "autogluon-best": autogluon("best_quality"),
    "autogluon-good": autogluon("good_quality"),
    "flaml": flaml,
}


def main() -> None:
    folder, tool, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    task = json.loads((folder / "task.json").read_text())
    train, asked = (pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "asked"))
    for frame in (train, asked):
        words = [name for name in frame.select_dtypes(object) if name != task["target"]]
        for name in words:
            frame[name] = frame[name].astype("category")
    begun = time.monotonic()
    say = TOOLS[tool](train, task, seconds, folder)
    took = time.monotonic() - begun
    np.save(folder / "said.npy", np.asarray(say(asked), np.float64))
    spent = []
    for place in range(min(ONE_BY_ONE, len(asked))):
        row = asked.iloc[place : place + 1]
        at = time.process_time_ns()
        say(row)
        spent.append(time.process_time_ns() - at)
    print(json.dumps({"seconds": took, "row_ms": float(np.median(spent)) / 1e6}))


if __name__ == "__main__":
    main()

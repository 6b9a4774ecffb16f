"""Other libraries that score trees, in a process of their own: ``PYTHON tree_peers.py FOLDER``.

FOLDER holds the models of each case and its rows, as ``tests.bench.trees`` writes them; this file imports nothing of
ours, since the environment has none of it. On standard input come lines ``CASE PEER ROWS CALLS``; each is answered by
the seconds of the fastest of so many calls. All use one thread.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Score = Callable[[Any], Any]


def lightgbm(case: Path) -> Score:
    import lightgbm

    booster = lightgbm.Booster(model_file=str(case / "lightgbm.txt"))
    return lambda rows: booster.predict(rows, num_threads=1)


def lleaves(case: Path) -> Score:
    import lleaves

    model = lleaves.Model(model_file=str(case / "lightgbm.txt"))
    model.compile()
    return lambda rows: model.predict(rows, n_jobs=1)


def xgboost(case: Path) -> Score:
    import xgboost

    booster = xgboost.Booster({"nthread": 1}, model_file=str(case / "xgboost.json"))
    return booster.inplace_predict


def tl2cgen(case: Path) -> Score:
    """Compiled to C with the flags that its documentation names."""
    import tl2cgen
    import treelite

    found = case / "lightgbm.txt"
    model = treelite.frontend.load_lightgbm_model(str(found)) if found.exists() else _forest(treelite, case)
    library = case / "tl2cgen.so"
    tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 8}, verbose=False)
    predictor = tl2cgen.Predictor(str(library), nthread=1)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows))


def onnxruntime(case: Path) -> Score:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_onnx(case), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda rows: session.run(None, {name: rows.astype(np.float32)})[0]


def ydf(case: Path) -> Score:
    """A model of its own of the same size, since it reads nobody else's; rows come as columns by name."""
    import ydf

    ydf.verbose(0)
    told = json.loads((case / "case.json").read_text())
    x, y = np.load(case / "train.npy"), np.load(case / "target.npy")
    names = [f"x{i}" for i in range(x.shape[1])]
    learner = ydf.GradientBoostedTreesLearner(
        label="y", task=ydf.Task.REGRESSION, num_trees=told["trees"], growing_strategy="BEST_FIRST_GLOBAL",
        max_num_nodes=told["leaves"], max_depth=-1, early_stopping="NONE", validation_ratio=0.0, num_threads=1,
    )  # fmt: skip
    model = learner.train({**dict(zip(names, x.T, strict=True)), "y": y})
    return lambda rows: model.predict(dict(zip(names, rows.T, strict=True)), num_threads=1)


def sklearn(case: Path) -> Score:
    score: Score = _pickled(case).predict
    return score


def _pickled(case: Path) -> Any:
    import joblib

    model = joblib.load(case / "forest.joblib")
    return model.set_params(n_jobs=1)


def _forest(treelite: Any, case: Path) -> Any:
    return treelite.sklearn.import_model(_pickled(case))


def _onnx(case: Path) -> bytes:
    width = np.load(case / "train.npy").shape[1]
    if (case / "lightgbm.txt").exists():
        import lightgbm
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        booster = lightgbm.Booster(model_file=str(case / "lightgbm.txt"))
        made = onnxmltools.convert_lightgbm(booster, initial_types=[("x", FloatTensorType([None, width]))])
    else:
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType as Floats

        made = skl2onnx.convert_sklearn(_pickled(case), initial_types=[("x", Floats([None, width]))])
    text: bytes = made.SerializeToString()
    return text


def main(folder: Path) -> None:
    loaded: dict[tuple[str, str], Score] = {}
    for line in sys.stdin:
        case, peer, count, calls = line.split()
        rows = np.load(folder / case / "rows.npy")[: int(count)]
        try:
            score = loaded.get((case, peer)) or globals()[peer](folder / case)
            loaded[case, peer] = score
            answer = np.asarray(score(rows), np.float64).ravel()
            seconds = min(_timed(score, rows) for _ in range(int(calls)))
            told: dict[str, Any] = {"seconds": seconds, "answer": answer[:100].tolist()}
        except Exception as error:  # noqa: BLE001 - whatever a peer does, the others are measured
            told = {"fault": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(told), flush=True)


def _timed(score: Score, rows: Any) -> float:
    began = time.perf_counter()
    score(rows)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]))

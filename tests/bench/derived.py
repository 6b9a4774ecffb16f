"""What derived columns cost a server: ``python -m tests.bench.derived``, or ``make bench-features``.

The model of ``make bench`` twice: as it is, and with ten derived columns that it is trained on too. Both servers run at
the same time and are driven in turn; each answer is compared with the pipeline's before anything is timed.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.profiles import profile
from components.modelling.training import fit, predict
from serving.bundle.bundle import write_bundle
from serving.bundle.signing import SigningKey
from serving.contract import Matrix
from tests.bench import model, servers
from tests.bench.client import drive
from tests.bench.model import CONTRACT, MODELS
from tests.bench.serve import figure
from tests.load import ask

COLUMNS = {
    "area_by_room": "area_m2 / rooms",
    "log_area": "log(area_m2)",
    "decade": "age // 10",
    "new_and_near": "age < 5 and distance_km < 3",
    "centre": "distance(latitude, longitude, 50.11, 8.68)",
    "burden": "where(interest_rate > 3, area_m2 * interest_rate, 0)",
    "floor_share": "clip(floor / max(rooms, 1), 0, 5)",
    "size": "bin(area_m2, [40, 80, 120, 200])",
    "kind_and_state": "cross(kind, condition)",
    "ground": 'kind in ("house", "plot") or floor == 0',
}
ROWS = (1, 100)
KINDS = ("plain", "derived")


def write(folder: Path, kind: str) -> None:
    """The bundle of *kind*."""
    matrix = model.rows(model.TRAINING_ROWS, 1)
    target, spec = model.prices(matrix), FeatureSpec(columns=COLUMNS if kind == "derived" else {})
    pipeline = fit(matrix, target, CONTRACT, spec, ModelSpec.model_validate(MODELS["hgb"].model_dump()), seed=5)
    key = SigningKey.generate()
    folder.mkdir(parents=True)
    write_bundle(
        folder / "bundle",
        pipeline=pipeline,
        contract=CONTRACT,
        profile=profile(matrix, CONTRACT, predict(pipeline, CONTRACT, matrix), target, {}),
        golden=matrix[:200],
        card="",
        provenance={},
        key=key,
    )
    (folder / "public.pem").write_bytes(key.public.pem)
    unseen = model.rows(ROWS[-1], 11)
    np.save(folder / "expected.npy", predict(pipeline, CONTRACT, unseen))


def body(count: int) -> bytes:
    matrix: Matrix = model.rows(ROWS[-1], 11)[:count]
    shape = model.shapes(matrix)[0]
    return model.requests(shape)[0]


def check(folder: Path, port: int) -> None:
    answer = np.array(json.loads(ask(port, body(ROWS[-1])).body)["predictions"])
    if not (answer == np.load(folder / "expected.npy")).all():
        raise SystemExit(f"the server of {folder.name} gives other predictions than the pipeline")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0, help="how long each load of a round lasts")
    given = options.parse_args()
    found: dict[tuple[int, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder, ExitStack() as stack:
        running = {}
        for kind in KINDS:
            write(Path(folder) / kind, kind)
            port = servers.free_port()
            running[kind] = stack.enter_context(servers.running(servers.ours(Path(folder) / kind, port), port))
            check(Path(folder) / kind, port)
        for turn in range(given.rounds):
            for rows in ROWS:
                for kind in KINDS if turn % 2 else KINDS[::-1]:
                    before = running[kind].cpu_s()
                    load = drive(running[kind].port, [body(rows)], 8, given.seconds)
                    used = (running[kind].cpu_s() - before) / len(load.latencies) * 1000
                    found.setdefault((rows, "requests/s", kind), []).append(load.per_second)
                    found.setdefault((rows, "ms server CPU", kind), []).append(used)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; medians of {given.rounds} rounds\n")
    print("| V1 records, 8 connections | none | ten derived columns | ratio |\n|---|---:|---:|---:|")
    for rows in ROWS:
        for unit in ("requests/s", "ms server CPU"):
            what = f"{rows} row{'s' * (rows > 1)}, {unit}"
            plain, derived = (median(found[rows, unit, kind]) for kind in KINDS)
            print(f"| {what} | {figure(plain)} | {figure(derived)} | {derived / plain:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

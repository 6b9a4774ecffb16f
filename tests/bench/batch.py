"""How long ten million rows take, file to file: ``python -m tests.bench.batch [--rows 10000000] [--folder DIR]``.

Sales of the simulated market as one parquet file, a model of 300 trees, and one child process that does what
``slipway score`` does from opening the bundle to the last manifest. Time and memory are what the system accounts to
that process. Sampled predictions are compared with scikit-learn's before a figure is printed.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.root import ROOT

MONTHS = 24
SAMPLE = 20_000


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--folder", type=Path, help="where the table is made and kept, to be used again")
    given = options.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    try:
        _prepare(folder, given.rows)
        shutil.rmtree(folder / "predictions", ignore_errors=True)
        seconds, cpu, memory = _measured(folder, given.workers)
        rows, sklearn = _checked(folder)
        print("| rows | seconds | CPU seconds | peak memory MB | written MB | scikit-learn CPU seconds, predict only |")
        print("|---|---|---|---|---|---|")
        written = sum(path.stat().st_size for path in (folder / "predictions").rglob("*.parquet")) / 1e6
        print(f"| {rows:,} | {seconds:.1f} | {cpu:.1f} | {memory:.0f} | {written:.0f} | {sklearn:.0f} (extrapolated) |")
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _prepare(folder: Path, rows: int) -> None:
    """The table, month by month, and a signed bundle; what is there already is used."""
    import pyarrow.parquet as pq

    from pipelines.housing.market import sales

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sales-{rows}.parquet"
    if not path.exists():
        writer, left, month = None, rows, 0
        while left > 0:
            table = sales("calm", [month], seed=11, rows_per_month=rows // MONTHS).head(left).to_arrow()
            writer = writer or pq.ParquetWriter(path.with_suffix(".part"), table.schema, compression="zstd")
            writer.write_table(table)
            left, month = left - table.num_rows, month + 1
        assert writer is not None, "no rows were asked for"
        writer.close()
        path.with_suffix(".part").rename(path)
    (folder / "table").unlink(missing_ok=True)
    (folder / "table").symlink_to(path.name)
    if not (folder / "bundle").exists():
        _train(folder)


def _train(folder: Path) -> None:
    from components.data import sources
    from components.data.tables import matrix_and_target
    from components.data.validation import validate
    from components.modelling.profiles import profile
    from components.modelling.training import fit, predict
    from components.projects import project as projects
    from serving.bundle.bundle import write_bundle
    from serving.bundle.signing import SigningKey

    project = projects.load(ROOT / "pipelines" / "housing" / "project.yaml")
    contract = project.contract
    frame = validate(sources.read(project.source.uri, None), contract, datetime(2030, 1, 1)).accepted
    matrix, target = matrix_and_target(frame, contract)
    pipeline = fit(matrix, target, contract, project.features, project.model, project.seed)
    key = SigningKey.generate()
    write_bundle(
        folder / "bundle",
        pipeline=pipeline,
        contract=contract,
        profile=profile(matrix, contract, predict(pipeline, contract, matrix), target, {}),
        golden=matrix[:200],
        card="",
        provenance={},
        key=key,
    )
    (folder / "public.pem").write_bytes(key.public.pem)


def _measured(folder: Path, workers: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MB of a process that scores the table."""
    started = time.monotonic()
    child = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "tests.bench.batch", "score", str(folder), str(workers)], os.environ
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit("the scoring process failed")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _score(folder: Path, workers: int) -> None:
    from components.scoring.batches import Job, score_partition
    from components.scoring.inputs import partitions
    from components.scoring.manifest import Manifest
    from components.scoring.output import MANIFEST, open_output
    from serving.bundle.bundle import open_bundle
    from serving.bundle.signing import load_public_key

    source, target = str((folder / "table").resolve()), str(folder / "predictions")
    output = open_output(target, source)
    bundle = open_bundle(folder / "bundle", (load_public_key(folder / "public.pem"),))
    job = Job(source, output, bundle, "housing", "1", workers=workers)
    output.write(MANIFEST, Manifest.of(score_partition(job, part)[0] for part in partitions(source)))


def _checked(folder: Path) -> tuple[int, float]:
    """How many rows have their predictions, and scikit-learn's CPU seconds for as many; a sample must be equal."""
    import numpy as np
    import polars as pl
    import pyarrow.parquet as pq

    from components.modelling.training import predict
    from components.scoring.manifest import Manifest
    from serving.bundle.bundle import open_bundle
    from serving.bundle.signing import load_public_key

    manifest = Manifest.model_validate_json((folder / "predictions" / "manifest.json").read_text())
    bundle = open_bundle(folder / "bundle", (load_public_key(folder / "public.pem"),))
    first = manifest.partitions[0].predictions.key
    ours = next(pq.ParquetFile(folder / "predictions" / first).iter_batches(SAMPLE))["prediction"].to_pylist()
    table = pl.from_arrow(next(pq.ParquetFile(folder / "table").iter_batches(SAMPLE)))
    kept = np.array([value is not None for value in ours])
    matrix = bundle.contract.encode(table.filter(pl.Series(kept)).to_pandas())
    started = time.process_time()
    theirs = predict(bundle.pipeline, bundle.contract, matrix)
    seconds = time.process_time() - started
    if theirs.tolist() != [value for value in ours if value is not None]:
        raise SystemExit("predictions differ from scikit-learn's")
    return manifest.rows, seconds / len(matrix) * manifest.rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["score"]:
        _score(Path(sys.argv[2]), int(sys.argv[3]))
        sys.exit(0)
    sys.exit(main())

"""Reading the prediction log that model servers write: lines of JSON in part files, one line per predicted row."""

import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from components.data.moments import naive
from serving.contract import Contract

LOG = logging.getLogger("slipway.watch")
PATTERN = "*.jsonl"


def read(
    directory: Path,
    contract: Contract,
    since: datetime | None = None,
    seen: Callable[[pl.DataFrame], None] | None = None,
) -> pl.DataFrame:
    """Every logged row below *directory* that was predicted at or after *since*, the oldest first; see ``parts``.

    Args:
        seen: is given each part, whose features are not kept then.
    """
    frames, none = list[pl.DataFrame](), _shaped(pl.DataFrame(schema=_schema(contract)))
    for rows in parts(directory, contract, since):
        if seen is not None:
            seen(rows)
        frames.append(rows if seen is None else rows.drop("features"))
    logged = {name for rows in frames for name in _logged(rows)} if frames else set(contract.slots)
    names = [name for name in contract.slots if name in logged]
    frames = [_with_features(rows, names) for rows in frames] if seen is None else frames
    empty = _with_features(none, names) if seen is None else none.drop("features")
    return pl.concat([empty, *frames], rechunk=True).sort("time", "request_id", "row")


def parts(directory: Path, contract: Contract, since: datetime | None = None) -> Iterator[pl.DataFrame]:
    """The rows of each part file below *directory* that were predicted at or after *since*.

    Columns: request_id, correlation_id (the caller's, which may repeat, or null), row (position in the request),
    time (naive UTC), version, prediction (a number, or the name of a class), probabilities (a list in the order of the
    classes, null for regression), latency_ms (of the request inside the server), flagged (columns whose value was
    outside of the contract and let through), and features: a struct of the contract's slots, without those that the
    servers were told not to log.

    A line that is not whole, because its server is writing it or was killed, is passed over.
    """
    start = pl.lit(True) if since is None else pl.col("time") >= naive(since)
    for path in sorted(directory.rglob(PATTERN)):
        if since is not None and path.stat().st_mtime < since.timestamp():
            continue  # written to for the last time before anything that is asked for
        rows, names = _part(path, contract)
        rows = rows.filter(start)
        if rows.height:
            yield _with_features(rows, [name for name in contract.slots if name in names])


def _logged(rows: pl.DataFrame) -> list[str]:
    return [field.name for field in getattr(rows.schema.get("features"), "fields", ())]


def _with_features(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """*rows* with the features *names*, null where they have none."""
    here, field = _logged(rows), pl.col("features").struct.field
    kept = [field(name) if name in here else pl.lit(None).alias(name) for name in names]
    features = pl.struct(kept) if kept else pl.lit(None, dtype=pl.Struct([]))  # where servers log none
    return rows.with_columns(features.alias("features"))


def _part(path: Path, contract: Contract) -> tuple[pl.DataFrame, set[str]]:
    """The rows of one part, and the columns in its first line: a server logs the same ones in every line of a part."""
    data = path.read_bytes()
    data = data[: data.rfind(b"\n") + 1]
    try:
        rows = _parsed(data, contract)
    except pl.exceptions.PolarsError:
        data = _readable(path, data)
        rows = _parsed(data, contract)
    first: Any = json.loads(data[: data.find(b"\n")]) if data else {}
    return _shaped(rows), set(first.get("features") or {})


def _parsed(data: bytes, contract: Contract) -> pl.DataFrame:
    schema = _schema(contract)
    return pl.read_ndjson(io.BytesIO(data), schema=schema) if data else pl.DataFrame(schema=schema)


def _readable(path: Path, data: bytes) -> bytes:
    """The whole lines of a part in which some are not."""
    lines = data.splitlines()
    kept = [line for line in lines if _is_object(line)]
    LOG.warning("prediction log has broken lines", extra={"part": str(path), "lines": len(lines) - len(kept)})
    return b"".join(line + b"\n" for line in kept)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _schema(contract: Contract) -> dict[str, Any]:
    words = {"category": pl.String, "bool": pl.Boolean, "datetime": pl.String}
    return {
        "request_id": pl.String,
        "correlation_id": pl.String,
        "row": pl.Int64,
        "time": pl.String,
        "version": pl.String,
        "prediction": pl.Float64 if contract.task == "regression" else pl.String,
        "probabilities": pl.List(pl.Float64),
        "latency_ms": pl.Float64,
        "flags": pl.List(pl.Struct({"column": pl.String})),
        "features": pl.Struct({name: words.get(c.type, pl.Float64) for name, c in contract.slots.items()}),
    }


def _shaped(rows: pl.DataFrame) -> pl.DataFrame:
    """Lines as columns; lines of other programs, which lack id or time, are left out."""
    time = pl.col("time").str.to_datetime(time_zone="UTC", time_unit="us", strict=False).dt.replace_time_zone(None)
    flagged = pl.col("flags").list.eval(pl.element().struct.field("column")).fill_null([])
    return rows.select(
        "request_id",
        "correlation_id",
        pl.col("row").fill_null(0),
        time,
        "version",
        "prediction",
        "probabilities",
        "latency_ms",
        flagged.alias("flagged"),
        "features",
    ).drop_nulls(["request_id", "time"])

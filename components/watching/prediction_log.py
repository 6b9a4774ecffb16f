"""Reading the prediction log that model servers write: lines of JSON in part files, one line per predicted row."""

import io
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from serving.contract import Contract

LOG = logging.getLogger("slipway.watch")
PATTERN = "*.jsonl"


def read(directory: Path, contract: Contract, since: datetime | None = None) -> pl.DataFrame:
    """Every logged row below *directory* that was predicted at or after *since*, the oldest first.

    Columns: request_id, row (position in the request), time (naive UTC), version, prediction (a number, or the name of
    a class), probabilities (a list in the order of the classes, null for regression), latency_ms (of the request inside
    the server), flagged (columns whose value was outside of the contract and let through), and features: a struct of
    the contract's columns, without those that the servers were told not to log.

    A line that is not whole, because its server is writing it or was killed, is passed over.
    """
    frames = list(parts(directory, contract, since))
    if not frames:
        return _empty(contract, contract.names)
    kept = [name for name in contract.names if any(name in _fields(frame) for frame in frames)]
    return pl.concat([_with_fields(frame, contract, kept) for frame in frames], rechunk=True).sort(
        "time", "request_id", "row"
    )


def parts(directory: Path, contract: Contract, since: datetime | None = None) -> Iterator[pl.DataFrame]:
    """The rows part by part, as in ``read``; for logs that should not be in memory at once."""
    start = None if since is None else since.astimezone(UTC).replace(tzinfo=None)
    for path in sorted(directory.rglob(PATTERN)):
        if since is not None and path.stat().st_mtime < since.timestamp():
            continue  # written to for the last time before anything that is asked for
        frame = _part(path, contract)
        if start is not None:
            frame = frame.filter(pl.col("time") >= start)
        if frame.height:
            yield frame


def _part(path: Path, contract: Contract) -> pl.DataFrame:
    data = path.read_bytes()
    data = data[: data.rfind(b"\n") + 1]
    if not data:
        return _empty(contract, contract.names)
    try:
        rows = pl.read_ndjson(io.BytesIO(data), schema=_schema(contract))
    except pl.exceptions.PolarsError:
        data = _readable(path, data)
        rows = pl.read_ndjson(io.BytesIO(data), schema=_schema(contract)) if data else _raw(contract)
    return _shaped(rows, contract, _logged(data, contract))


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


def _logged(data: bytes, contract: Contract) -> list[str]:
    """The columns of the first line: a server logs the same ones in every line of a part."""
    first: Any = json.loads(data[: data.find(b"\n")]) if data else {}
    features = first.get("features") or {}
    return [name for name in contract.names if name in features]


def _schema(contract: Contract) -> dict[str, Any]:
    return {
        "request_id": pl.String,
        "row": pl.Int64,
        "time": pl.String,
        "version": pl.String,
        "prediction": pl.Float64 if contract.task == "regression" else pl.String,
        "probabilities": pl.List(pl.Float64),
        "latency_ms": pl.Float64,
        "flags": pl.List(pl.Struct({"column": pl.String})),
        "features": _struct(contract, contract.names),
    }


def _struct(contract: Contract, names: Sequence[str]) -> Any:
    words = {"category": pl.String, "bool": pl.Boolean}
    return pl.Struct({name: words.get(contract.columns[name].type, pl.Float64) for name in names})


def _shaped(rows: pl.DataFrame, contract: Contract, logged: Sequence[str]) -> pl.DataFrame:
    """Lines as columns; lines of other programs, which lack id or time, are left out."""
    time = pl.col("time").str.to_datetime(time_zone="UTC", time_unit="us", strict=False).dt.replace_time_zone(None)
    flagged = pl.col("flags").list.eval(pl.element().struct.field("column")).fill_null([])
    frame = rows.select(
        "request_id",
        pl.col("row").fill_null(0),
        time,
        "version",
        "prediction",
        "probabilities",
        "latency_ms",
        flagged.alias("flagged"),
        "features",
    ).drop_nulls(["request_id", "time"])
    return _with_fields(frame, contract, logged)


def _with_fields(frame: pl.DataFrame, contract: Contract, names: Sequence[str]) -> pl.DataFrame:
    """*frame* with exactly *names* in ``features``; those it lacks are null."""
    kinds = {field.name: field.dtype for field in _struct(contract, names).fields}
    here = _fields(frame)
    fields = [
        pl.col("features").struct.field(name) if name in here else pl.lit(None, dtype=kinds[name]).alias(name)
        for name in names
    ]
    return frame.with_columns(pl.struct(fields).alias("features") if fields else pl.struct().alias("features"))


def _fields(frame: pl.DataFrame) -> list[str]:
    return [field.name for field in frame.schema["features"].fields]


def _raw(contract: Contract) -> pl.DataFrame:
    return pl.DataFrame(schema=_schema(contract))


def _empty(contract: Contract, names: Sequence[str]) -> pl.DataFrame:
    return _shaped(_raw(contract), contract, names)

"""What one predictor process is told: flags first, then ``SLIPWAY_*`` variables, then defaults."""

import argparse
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from serving.contract import Frozen
from serving.errors import ConfigError

LOG = logging.getLogger("slipway.predictor")


class Settings(Frozen):
    """Where the model is, where it answers, and the bounds that keep memory and latency in hand.

    Attributes:
        trusted_key: PEM file, or directory of ``*.pem``, with the public keys whose bundles may be loaded.
        health_port: another port with the same answers. A runtime's probes name a port, and whoever uses the runtime
            may choose ``http_port``.
        inline_bytes: a body up to this size is decoded on the event loop; a larger one in a worker thread.
        inline_rows: up to this many rows are scored on the event loop, if the model has a fast form.
        workers: threads for large bodies; more than the cores of the pod only makes them wait for each other.
        queue: requests that may wait for a worker; one more is answered 429.
        buffered_bytes: sum of large request bodies held at one time; one more is answered 429.
        body_timeout_s: how long a client may take to send its body.
        drain_s: after SIGTERM, how long requests are still served while readiness says no, so that a gateway that
            learns of it late loses nothing.
        grace_s: after SIGTERM, when the process ends at the latest.
        termination_log: file that is told why the bundle was not loaded; the process then ends with the exit code of
            the reason, as Kubernetes wants it. Without one it stays, and its readiness says why.
        cors_origins: of web pages that may call this server from a browser, as ``https://host[:port]``, or ``*``.
        own_packages: whose code a bundle may need, by the names of packages that are installed here.
        log_dir: directory or ``s3://bucket/prefix`` of the prediction log; empty: none.
        log_s3: directory with the S3 secret of ``log_dir``, as ``serving.store.store.S3Settings.from_files`` reads it.
        log_share: share of requests that are logged, 0..1.
        log_without: columns that never enter the log.
    """

    model_name: str = Field(default="model", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    version: str = Field(default="0", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    revision: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,127}$")
    bundle: Path = Path("/mnt/models")
    trusted_key: Path | None = None
    host: str = "0.0.0.0"  # noqa: S104  # a pod is reached from outside of it
    http_port: int = Field(default=8080, ge=1, le=65535)
    grpc_port: int = Field(default=8081, ge=1, le=65535)
    health_port: int | None = Field(default=None, ge=1, le=65535)
    enable_grpc: bool = True
    max_body_bytes: int = Field(default=16 << 20, ge=65536)
    max_rows: int = Field(default=50_000, ge=1)
    max_explain_rows: int = Field(default=100, ge=1)
    inline_bytes: int = Field(default=16 << 10, ge=0)
    inline_rows: int = Field(default=32, ge=0)
    workers: int = Field(default=2, ge=1, le=64)
    queue: int = Field(default=32, ge=0)
    buffered_bytes: int = Field(default=128 << 20, ge=1024)
    body_timeout_s: float = Field(default=30.0, gt=0)
    drain_s: float = Field(default=2.0, ge=0)
    grace_s: float = Field(default=25.0, gt=0)
    termination_log: Path | None = None
    cors_origins: tuple[str, ...] = ()
    own_packages: tuple[str, ...] = ()
    log_dir: str = ""
    log_s3: Path | None = None
    log_share: float = Field(default=1.0, ge=0, le=1)
    log_without: tuple[str, ...] = ()
    log_queue_rows: int = Field(default=100_000, ge=1)
    log_part_bytes: int = Field(default=16 << 20, ge=1024)
    log_part_s: float = Field(default=60.0, gt=0)
    instance: str = ""


IGNORED = (
    *("--max_threads", "--max_asyncio_workers", "--enable_docs_url", "--enable_latency_logging", "--configure_logging"),
    *("--log_config_file", "--access_log_format", "--event-loop", "--timeout-keep-alive", "--predictor_host"),
    *("--protocol", "--predictor_protocol", "--predictor_use_ssl", "--predictor_request_timeout_seconds"),
    *("--grpc_max_send_message_length", "--grpc_max_receive_message_length", "--predictor_request_retries"),
    *("--enable_predictor_health_check", "--ssl_certfile", "--ssl_keyfile"),
)
"""Flags of KServe's model server that mean nothing here: a runtime that was written for it starts all the same."""
_ALIASES = {
    "model_name": ("--model_name", "--model-name"),
    "bundle": ("--bundle", "--model_dir", "--model-dir"),
    "version": ("--version", "--model_version"),
}


def parse(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings of *argv* over *environment*; a flag wins over ``SLIPWAY_<FIELD>``.

    Raises:
        ConfigError: a value is outside of its bounds, or a flag is unknown.
    """
    given, unknown = _parser().parse_known_args(list(argv))
    unknown = _without_ignored(unknown)
    if unknown:
        raise ConfigError(f"unknown arguments {unknown}; `python -m serving.predictor --help` lists the known ones")
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        variable = environment.get(f"SLIPWAY_{name.upper()}")
        flag = getattr(given, name)
        if flag is not None:
            values[name] = flag
        elif variable is not None:
            values[name] = variable
    for name in {"log_without", "cors_origins", "own_packages"} & values.keys():
        values[name] = tuple(part.strip() for part in values[name].split(",") if part.strip())
    values.setdefault("instance", f"{socket.gethostname()}-{os.getpid()}")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"predictor setting {field!r}: {first['msg']}, seen {first.get('input')!r}") from error
    return settings.model_copy(update={"revision": settings.revision or settings.version})


def _without_ignored(unknown: list[str]) -> list[str]:
    theirs = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in IGNORED:
        theirs.add_argument(flag, dest=flag, nargs="?", const="")
    given, left = theirs.parse_known_args(unknown)
    for flag, value in vars(given).items():
        if value is not None:
            LOG.warning("a flag of KServe's own server is ignored", extra={"flag": flag, "value": value})
    return left


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.predictor", description="Serve one bundle by KServe's protocols.", allow_abbrev=False
    )
    for name, field in Settings.model_fields.items():
        flags = _ALIASES.get(name, (f"--{name}",))
        parser.add_argument(*flags, dest=name, default=None, help=f"default: {field.default}")
    return parser

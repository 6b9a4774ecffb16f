"""Telling somebody: one JSON line per alert in a file, and the same JSON to a webhook."""

import json
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.watching.values import WatchReport
from serving import webhook

LOG = logging.getLogger("slipway.watch")
TIMEOUT_S = 5.0


def alert(report: WatchReport) -> dict[str, Any]:
    """What an alert says."""
    return {
        "at": report.as_of,
        "model": report.model,
        "version": report.version,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "figures": [figure.name for figure in report.beyond],
        "columns": [column.column for column in report.drift.drifted] if report.drift else [],
    }


def is_news(report: WatchReport, previous: WatchReport | None) -> bool:
    """Whether *report* says something that *previous* did not: another verdict, version, figure or column."""
    return previous is None or _gist(report) != _gist(previous)


def send(report: WatchReport, file: Path, address: str = "", timeout_s: float = TIMEOUT_S) -> str:
    """Append the alert to *file* and post it to the webhook at *address* if there is one.

    Returns a warning when the webhook did not take it, else an empty text: an alert that cannot be delivered must not
    stop the watch, and the file has it anyway.
    """
    line = json.dumps(alert(report), ensure_ascii=False).encode()
    append(file, line)
    return _deliver(address, line, timeout_s) if address else ""


def append(file: Path, line: bytes) -> None:
    """Add *line* in one write, so that lines of several writers do not mix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def _gist(report: WatchReport) -> dict[str, Any]:
    said = alert(report)
    return {key: said[key] for key in ("model", "version", "verdict", "figures", "columns")}


def _deliver(address: str, line: bytes, timeout_s: float) -> str:
    if not webhook.is_address(address):
        return f"webhook {address!r}: expected an http:// or https:// address"
    if failure := webhook.post(address, line, timeout_s):
        LOG.warning("alert not delivered", extra={"reason": failure})
        return f"webhook {urlsplit(address).hostname}: {failure}"
    return ""

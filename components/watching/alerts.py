"""Telling somebody: one JSON line per alert in a file, and the same JSON to a webhook."""

import json
import logging
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.watching.values import WatchReport

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


def send(report: WatchReport, file: Path, webhook: str = "", timeout_s: float = TIMEOUT_S) -> str:
    """Append the alert to *file* and post it to *webhook* if there is one.

    Returns a warning when the webhook did not take it, else an empty text: an alert that cannot be delivered must not
    stop the watch, and the file has it anyway.
    """
    line = json.dumps(alert(report), ensure_ascii=False).encode()
    append(file, line)
    return _post(webhook, line, timeout_s) if webhook else ""


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


def _post(webhook: str, body: bytes, timeout_s: float) -> str:
    """Why *webhook* did not take *body*; empty when it did.

    A socket's timeout starts anew with each byte, so a thread bounds the whole.
    """
    if urlsplit(webhook).scheme not in ("http", "https"):
        return f"webhook {webhook!r}: expected an http:// or https:// address"
    failure = [f"no answer within {timeout_s:g} s"]

    def post() -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(webhook, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310 - checked above
                failure[0] = ""
        except (OSError, ValueError, urllib.error.URLError) as error:
            failure[0] = str(error)

    thread = threading.Thread(target=post, name="webhook", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not failure[0]:
        return ""
    LOG.warning("alert not delivered", extra={"reason": failure[0]})
    return f"webhook {urlsplit(webhook).hostname}: {failure[0]}"

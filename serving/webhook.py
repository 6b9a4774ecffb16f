"""Posting JSON to an address that somebody configured: bounded in time, and a failure is a text."""

import threading
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit


def is_address(webhook: str) -> bool:
    return urlsplit(webhook).scheme in ("http", "https")


def post(webhook: str, body: bytes, timeout_s: float) -> str:
    """Why *webhook*, an address by ``is_address``, did not take *body* within *timeout_s*; empty when it did.

    A socket's own timeout starts anew with each byte that comes, so a thread bounds the whole.
    """
    failure = [f"no answer within {timeout_s:g} s"]

    def send() -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(webhook, data=body, headers=headers, method="POST")  # noqa: S310 - see above
        try:
            with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310 - see above
                failure[0] = ""
        except (OSError, ValueError, HTTPException) as error:
            failure[0] = str(error)

    thread = threading.Thread(target=send, name="webhook", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return failure[0]

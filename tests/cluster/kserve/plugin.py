"""A plugin for KServe's own tests: a model's ``gs://`` address leads to a bundle of ours, and nothing else is changed.

Where no image can be pulled, the one that the tests of the logger send their events to has a stand-in. It is loaded
into KServe's test session with ``-p``, so it imports nothing of this repository.
"""

import os
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest
from kserve import KServeClient

BUNDLES = "s3://slipway/kserve-suite/"
GOOGLE = "gs://"
DISPLAY = "gcr.io/knative-releases/knative.dev/eventing-contrib/cmd/event_display"
STAND_IN = os.environ.get("EVENT_DISPLAY", DISPLAY)


@pytest.fixture(scope="session", autouse=True)
def redirected() -> Iterator[None]:
    """Everything that the session creates or patches goes through ``led_here``."""
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("create", "patch"):
            patch.setattr(KServeClient, verb, _leading_here(getattr(KServeClient, verb)))
        yield


def led_here(value: Any) -> None:
    """Every storage address in *value*, a model of KServe's, leads to the bundle that has its path in our store."""
    for name in getattr(value, "openapi_types", ()):
        _one(value, name, getattr(value, name))


def _one(value: Any, name: str, found: Any) -> None:
    if isinstance(found, str) and name == "storage_uri" and found.startswith(GOOGLE):
        setattr(value, name, BUNDLES + found.removeprefix(GOOGLE).strip("/") + "/")
    if name == "image" and found == DISPLAY:
        setattr(value, name, STAND_IN)
    for part in found if isinstance(found, list) else (found,):
        led_here(part)


def _leading_here(verb: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(verb)
    def sent(self: KServeClient, *words: Any, **named: Any) -> Any:
        for word in (*words, *named.values()):
            led_here(word)
        return verb(self, *words, **named)

    return sent

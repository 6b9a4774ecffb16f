"""A real cluster for tests: kubectl, a project of its own, verbs in the controller, load through the gateway."""

import contextlib
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.root import ROOT

CONTEXT = os.environ.get("SLIPWAY_CONTEXT", "kind-slipway")
GATEWAY = os.environ.get("SLIPWAY_GATEWAY", "127.0.0.1:30080")
DOMAIN = "models.example.com"
QUICK = {"dwell": "2s", "bake": "5s", "step": "10m", "metrics": "60s", "converge": "60s", "drain": "20s", "ready": "5m"}
CONTROLLER = ("-n", "slipway-system", "deploy/rollout-controller")


def kubectl(*words: str, given: str | None = None, code: int | None = 0) -> str:
    """What kubectl prints; any exit code will do where *code* is None."""
    command = ["kubectl", "--context", CONTEXT, *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=600)
    assert code is None or done.returncode == code, f"{' '.join(words)}: {done.stderr}"
    return done.stdout + (done.stderr if done.returncode else "")


def read(*words: str) -> Any:
    return json.loads(kubectl(*words, "-o", "json"))


def require_cluster() -> None:
    try:
        answers = "rollout-controller" in kubectl("-n", "slipway-system", "get", "deploy", "-o", "name", code=None)
    except FileNotFoundError:
        answers = False
    if not answers:
        pytest.skip(f"nothing is deployed on {CONTEXT}; first: make kind-up images deploy")


def inside(*words: str, code: int = 0) -> str:
    """A verb of the command line in the controller's pod, where the ledger can be reached."""
    command = ["kubectl", "--context", CONTEXT, "exec", *CONTROLLER, "-c", "controller", "--", "slipway", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == code, f"{' '.join(words)}: {done.returncode} {done.stderr} {done.stdout}"
    return done.stdout


def until(true: Callable[[], Any], what: str, limit_s: float = 240.0) -> Any:
    """Ask until it is so."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.25)
    raise AssertionError(f"not within {limit_s:.0f} s: {what}")


@dataclass(frozen=True)
class House:
    """The housing project under a name of its own; its objects on the cluster go with it."""

    name: str
    project: Path
    home: Path

    def submit(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        return self._slipway("submit", "--project", str(self.project), "--context", CONTEXT, *words, code=code)

    def run_here(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        return self._slipway("run", "--project", str(self.project), *words, code=code)

    def _slipway(self, *words: str, code: int) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "pipelines.cli.main", "--home", str(self.home), "--json", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=2_400)
        assert done.returncode == code, done.stderr + done.stdout
        return [json.loads(line) for line in done.stdout.splitlines()]

    def rollout(self, *words: str, code: int = 0) -> str:
        return inside("rollout", words[0], "--model", self.name, *words[1:], code=code)

    def phase(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rollout("status", "--json"))
        return found

    def revision(self, version: int) -> str:
        return f"{self.name}-{version}"

    def forget(self) -> None:
        for kind in ("inferenceservice", "httproute"):
            kubectl(
                "-n", "models", "delete", kind, "-l", f"app.kubernetes.io/name={self.name}", "--wait=false", code=None
            )


def house(name: str, directory: Path) -> House:
    """The housing project as *name*; plans as quick as a test's callers are."""
    found = yaml.safe_load((ROOT / "pipelines/housing/project.yaml").read_text())
    found["name"] = name
    found["search"] = {}
    found.setdefault("rollout", {})["time"] = QUICK
    path = directory / "project.yaml"
    path.write_text(yaml.safe_dump(found, sort_keys=False))
    return House(name, path, directory / "home")


# --- load ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    at: float
    status: int
    revision: str
    body: str = ""


@dataclass
class Load:
    """Requests at an even rate through the gateway on connections that stay open; nothing is sent twice."""

    name: str
    bodies: Sequence[bytes]
    rate: float = 100.0
    path: str = ":predict"
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._turns, self._lock = itertools.count(), threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(WORKERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def lost(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    def by_revision(self) -> Counter[str]:
        return Counter(answer.revision for answer in self.answers)

    def await_answers(self, count: int) -> None:
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, f"{count} answers", 60 + count / self.rate * 5)

    def _work(self, number: int) -> None:
        period = WORKERS / self.rate
        due = time.monotonic() + period * number / WORKERS
        connection = http.client.HTTPConnection(GATEWAY, timeout=30)
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += period
            self.answers.append(
                ask(self.name, self.bodies[next(self._turns) % len(self.bodies)], self.path, self.headers, connection)
            )
        connection.close()


WORKERS = 4


def ask(
    name: str,
    body: bytes,
    path: str = ":predict",
    headers: Mapping[str, str] | None = None,
    connection: http.client.HTTPConnection | None = None,
) -> Answer:
    """One request; *path* ``:predict`` is KServe's v1, ``/infer`` its v2."""
    version = "v1" if path.startswith(":") else "v2"
    own = connection or http.client.HTTPConnection(GATEWAY, timeout=30)
    sent = {"Host": f"{name}.{DOMAIN}", "Content-Type": "application/json", **(headers or {})}
    try:
        own.request("POST", f"/{version}/models/{name}{path}", body=body, headers=sent)
        found = own.getresponse()
        text = found.read().decode()
        return Answer(time.monotonic(), found.status, found.headers.get("x-revision", ""), text)
    except (OSError, http.client.HTTPException) as error:
        own.close()
        return Answer(time.monotonic(), 0, "", str(error))
    finally:
        if connection is None:
            own.close()


@contextlib.contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to *target*."""
    command = ["kubectl", "--context", CONTEXT, "-n", namespace, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+) ->", process.stdout.readline())
            assert found, f"no way to {namespace}/{target}"
            yield int(found[1])
        finally:
            process.terminate()

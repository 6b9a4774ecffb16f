"""A real cluster for tests: kubectl, a project of its own, verbs in the controller, load through the gateway."""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.projects import project_file
from serving.store.settings import S3Settings
from tests.load import Answer, Load, request
from tests.root import ROOT

CONTEXT = os.environ.get("SLIPWAY_CONTEXT", "kind-slipway")
GATEWAY = os.environ.get("SLIPWAY_GATEWAY", "127.0.0.1:30080")
DOMAIN = "models.example.com"
FORMER = os.environ.get("SLIPWAY_HOUSE", "")  # a model of an earlier call whose two versions are there already
FIRST = ("--as-of", "2026-01-01", "--source", "market://recession?from=0&until=24&seed=7&turn=24")
SECOND = ("--as-of", "2026-05-10", "--source", "market://recession?from=0&until=27&seed=7&turn=24", "--window", "180d")
ENDED = ("succeeded", "rolled back", "failed", "none")
WITHOUT = "WITHOUT=upstream mlflow grafana prometheus"
QUICK = {"dwell": "2s", "bake": "5s", "step": "10m", "metrics": "60s", "converge": "60s", "drain": "20s", "ready": "5m"}


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


# What kubectl says when the container it was to enter is being replaced: the command did not begin.
ELSEWHERE = re.compile(
    "container not found|unable to upgrade connection|cannot exec into a container|error dialing backend|"
    "no running task found|not found in pod|does not have a host assigned|pods .* not found|container is not running"
)


def inside(*words: str, code: int | None = 0, namespace: str = "slipway-system") -> str:
    """A verb of the command line in the controller's pod, where the ledger can be reached."""
    pod = ("-n", namespace, "deploy/rollout-controller", "-c", "controller")
    command = ["kubectl", "--context", CONTEXT, "exec", *pod, "--", "slipway", *words]

    def ran() -> subprocess.CompletedProcess[str] | None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        # Killed in the middle of a look nothing is half-done; of an order that cannot be known.
        again = ELSEWHERE.search(done.stderr) or (done.returncode == 137 and "status" in words)
        return None if done.returncode and again else done

    done: subprocess.CompletedProcess[str] = until(ran, f"the controller's pod takes {' '.join(words)}")
    assert code in (None, done.returncode), f"{' '.join(words)}: {done.returncode} {done.stderr} {done.stdout}"
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

    def rollout(self, *words: str, code: int | None = 0) -> str:
        return inside("rollout", words[0], "--model", self.name, *words[1:], code=code)

    def phase(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rollout("status", "--json"))
        return found

    def revision(self, version: int) -> str:
        return f"{self.name}-{version}"

    def forget(self) -> None:
        """End what moves and put its versions away, since the controller brings back what the ledger says serves; then
        remove its objects."""
        seen = json.loads(self.rollout("status", "--json", code=None) or "{}")  # of no rollout it is an error
        if seen.get("phase", "none") not in ENDED:
            self.rollout("abort", "--reason", "a test is over")
            end(self)
        self.rollout("set", "0", code=None)  # a canary that was set by hand, if there is one
        for version in json.loads(inside("models", "list", self.name, "--json"))["versions"]:
            if version["stage"] != "archived":
                inside("models", "archive", self.name, str(version["version"]), "--reason", "a test is over")
        for kind in ("inferenceservice", "httproute"):
            kubectl(
                "-n", "models", "delete", kind, "-l", f"app.kubernetes.io/name={self.name}", "--wait=false", code=None
            )


def end(own: House) -> str:
    return str(until(lambda: (p := own.phase()["phase"]) in ENDED and p, "the rollout ends", 900))


def house(name: str, directory: Path) -> House:
    """The housing project as *name*; plans as quick as a test's callers are."""
    found = project_file.read(ROOT / "pipelines/housing/project.yaml")  # to others `on` is a truth
    found["name"] = name
    found["search"] = {}
    found.setdefault("rollout", {})["time"] = QUICK
    path = directory / "project.yaml"
    path.write_text(yaml.safe_dump(found, sort_keys=False))
    return House(name, path, directory / "home")


def result(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in lines if line["subject"] == "result")


# --- load ------------------------------------------------------------------------------------------------------------


def through_gateway(name: str, bodies: Sequence[bytes], *, path: str = ":predict", to: str = "", **how: Any) -> Load:
    """Requests of the model *name*, *bodies* in turn, by the host *to* where it is not its own.

    *path* ``:predict`` is KServe's v1, ``/infer`` its v2.
    """
    version = "v1" if path.startswith(":") else "v2"
    where = f"/{version}/models/{name}{path}"
    sent = [request(where, body, host=to or f"{name}.{DOMAIN}") for body in bodies]
    host, _, port = GATEWAY.partition(":")
    return Load(int(port), lambda number: sent[number % len(sent)], host=host, **how)


def ask(name: str, body: bytes, path: str = ":predict", *, to: str = "") -> Answer:
    """One request."""
    return through_gateway(name, [body], path=path, to=to, keep_bodies=True).run(1).answers[0]


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


@contextlib.contextmanager
def object_store(directory: Path) -> Iterator[S3Settings]:
    """The cluster's MinIO as this machine reaches it; the secret's files go into *directory*."""
    data = read("-n", "slipway-system", "get", "secret", "slipway-object-store")["data"]
    for name, value in data.items():
        (directory / name).write_bytes(base64.b64decode(value))
    with forwarded("slipway-system", "svc/minio", 9000) as port:
        (directory / "endpoint").write_text(f"127.0.0.1:{port}")
        yield S3Settings.from_files(directory)

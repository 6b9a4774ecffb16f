"""A server that speaks as much of Kubeflow Pipelines' REST interface as we use, and runs as they look from outside."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = "/apis/v2beta1"
ATTEMPT = ""  # what a server writes behind each node: nothing up to 2.14, "(0)" since 2.17
Answer = dict[str, Any]


@dataclass
class Fake:
    """What the server knows. *runs* are the successive answers about any run; the last one stays."""

    pipelines: list[Answer] = field(default_factory=list)
    versions: list[Answer] = field(default_factory=list)
    experiments: list[Answer] = field(default_factory=list)
    schedules: list[Answer] = field(default_factory=list)
    created: list[Answer] = field(default_factory=list)
    runs: list[Answer] = field(default_factory=list)
    uploads: int = 0
    refuse: tuple[int, str] | None = None
    host: str = ""
    _number: int = 0

    def number(self) -> str:
        self._number += 1
        return f"id-{self._number}"

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Answer | None:
        """The reply to a request; None is 404."""
        parts = path.removeprefix(ROOT).strip("/").split("/")
        name = query.get("name", [""])[0]
        match (method, parts):
            case ("GET", ["healthz"]):
                return {"multi_user": False}
            case ("GET", ["pipelines"]):
                return {"pipelines": self.pipelines}
            case ("POST", ["pipelines", "upload"]):
                made = {"pipeline_id": self.number(), "display_name": name}
                self.pipelines.append(made)
                self._version(made["pipeline_id"], name)
                return made
            case ("POST", ["pipelines", "upload_version"]):
                return self._version(query["pipelineid"][0], name)
            case ("GET", ["pipelines", pipeline, "versions"]):
                return {"pipeline_versions": [one for one in self.versions if one["pipeline_id"] == pipeline]}
            case ("GET", ["experiments"]):
                return {"experiments": self.experiments}
            case ("POST", ["experiments"]):
                self.experiments.append({**json.loads(body), "experiment_id": self.number()})
                return self.experiments[-1]
            case ("POST", ["runs"]):
                self.created.append({**json.loads(body), "run_id": self.number()})
                return self.created[-1]
            case ("GET", ["runs", run]):
                found = self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
                return {"run_id": run, **found}
            case ("GET", ["recurringruns"]):
                return {"recurringRuns": self.schedules}
            case ("POST", ["recurringruns"]):
                self.schedules.append({**json.loads(body), "recurring_run_id": self.number()})
                return self.schedules[-1]
            case ("DELETE", ["recurringruns", run]):
                self.schedules = [one for one in self.schedules if one["recurring_run_id"] != run]
                return {}
        return None

    def _version(self, pipeline: str, name: str) -> Answer:
        self.uploads += 1
        self.versions.append({"pipeline_id": pipeline, "pipeline_version_id": self.number(), "display_name": name})
        return self.versions[-1]


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """*fake* at an address of this machine, in ``fake.host``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = fake.answer(self.command, parts.path, parse_qs(parts.query), body)
            status, reply = (404, {"message": "there is none"}) if found is None else (200, found)
            if fake.refuse:
                status, reply = fake.refuse[0], {"message": fake.refuse[1]}
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.host = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def node(name: str, state: str, begun: int = 0, took: int | None = None, children: Sequence[str] = ()) -> Answer:
    """One entry of a run's details, *begun* seconds after the full hour."""

    def at(second: int) -> str:
        return f"2026-01-31T12:{second // 60:02d}:{second % 60:02d}Z"

    return {
        "display_name": name,
        "state": state,
        "start_time": at(begun),
        "end_time": "1970-01-01T00:00:00Z" if took is None else at(begun + took),
        "child_tasks": [{"pod_name": child} for child in children],
    }


def task(name: str, state: str, begun: int = 0, took: int | None = None) -> list[Answer]:
    """A task as the server tells it: its driver, the pair, and the executor, which has no name of its own."""
    driver = "SUCCEEDED" if state in ("SUCCEEDED", "FAILED", "RUNNING") else state
    left = None if took is None else took - 3
    nodes = [node(f"{name}-driver", driver, begun, 2), node(name, state, begun + 3, left)]
    nodes.append(node("executor", state, begun + 3, left))
    return [*nodes, *({**one, "display_name": one["display_name"] + ATTEMPT} for one in nodes if ATTEMPT)]


def pod(task_name: str, *, driver: bool = False, within: Sequence[str] = (), **status: Any) -> Answer:
    """The pod of a task's executor, or of its driver; *within* are the nodes of the loop that it is in."""
    last = [f"{task_name}-driver"] if driver else [task_name, "executor"]
    kind, suffix = "driver" if driver else "impl", "-".join([task_name, *within[-1:]])
    path = ".".join(part + ATTEMPT for part in ("wf", "root", *within, *last))
    return {
        "metadata": {
            "name": f"wf-system-container-{kind}-{suffix}",
            "annotations": {"workflows.argoproj.io/node-name": path},
        },
        "status": status,
    }


def run(state: str, *tasks: Sequence[Answer]) -> Answer:
    """A run with its details; groups and the nameless entries that a server tells of are among them."""
    noise = [node("root", state), node("root-driver", "SUCCEEDED", 0, 1), {"state": "SUCCEEDED"}]
    return {"state": state, "run_details": {"task_details": [*noise, *(one for group in tasks for one in group)]}}

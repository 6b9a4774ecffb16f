"""The child process of one local run: ``python -m pipelines.here.run SPEC.json``, started by ``runner``.

The first line of its standard input is JSON, the variables to add to the environment of the steps; they may be
secrets, so they are neither in a file nor on a command line. After that standard input is the life line: when it ends
the parent is gone, and the whole process group goes too.
"""

import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipelines.compiling.arguments import check_arguments
from pipelines.here import kfp_shim
from serving.errors import SlipwayError
from serving.files import read_json, write_json

_TURN = re.compile(r"-iteration-\d+")


@dataclass(frozen=True)
class Spec:
    """What the parent asks for; paths are absolute, ``events_fd`` is an inherited pipe that takes JSON lines."""

    package: str
    arguments: Mapping[str, Any]
    root: str
    run_id: str
    cache: bool
    events_fd: int


def main(argv: list[str]) -> int:
    environment = json.loads(sys.stdin.readline() or "{}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)  # written for the steps to inherit; nothing here is decided by it
    spec = Spec(**read_json(Path(argv[0])))
    with os.fdopen(spec.events_fd, "w", buffering=1, encoding="utf-8") as pipe:
        result = run(spec, _sender(pipe))
        pipe.write(json.dumps({"result": result}) + "\n")
    return 0 if result["state"] == "SUCCEEDED" else 1


def run(spec: Spec, emit: Callable[..., None]) -> dict[str, Any]:
    """Run the package to its end; the result's ``error`` is the sentence for people, None when all went well."""
    try:
        ir = load_ir(Path(spec.package))
        check_arguments(ir, spec.arguments)
        return _follow(spec, ir, emit)
    except SlipwayError as error:
        return {"state": "FAILED", "error": str(error), "exit_code": error.exit_code}


def load_ir(package: Path) -> dict[str, Any]:
    """The pipeline of a compiled *package*: its first YAML document; the second is only for Kubernetes."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    ir: dict[str, Any] = next(iter(yaml.load_all(package.read_bytes(), Loader=loader)))
    return ir


def leaves(ir: Mapping[str, Any]) -> Iterator[str]:
    """The name of every step that *ir* could run, as events name it."""
    from pipelines.here.steps import step_name

    def walk(component: Mapping[str, Any], resource: str) -> Iterator[str]:
        for task, spec in component["dag"]["tasks"].items():
            inner = ir["components"][spec["componentRef"]["name"]]
            if "dag" in inner:
                yield from walk(inner, f"{resource}/{task}")
            else:
                yield step_name(resource, task)

    yield from walk(ir["root"], "run")


def _follow(spec: Spec, ir: Mapping[str, Any], emit: Callable[..., None]) -> dict[str, Any]:
    kfp_shim.without_client()
    from google.protobuf import json_format  # type: ignore[import-untyped]  # no stubs in the lock
    from kfp import local
    from kfp.local import executor_input_utils, pipeline_orchestrator
    from kfp.pipeline_spec import pipeline_spec_pb2

    from pipelines.here.step_cache import StepCache
    from pipelines.here.steps import LocalSteps, outputs_json

    root, place = Path(spec.root), Path(spec.root) / "runs" / spec.run_id
    artifacts = root / "pipeline_root"
    cache = StepCache(artifacts / "cache") if spec.cache else None
    steps = LocalSteps(spec.run_id, artifacts / "runs", place / "logs", cache, emit)
    problems: list[str] = []
    kfp_shim.install(steps.execute, problems.append)
    executor_input_utils.get_local_pipeline_resource_name = lambda _: spec.run_id
    # kfp deletes its workspace at the end of a run: name one that holds nothing.
    workspace = place / "tmp" / "workspace"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts), workspace_root=str(workspace))
    outputs: dict[str, Any] = {}
    try:
        pipeline = json_format.ParseDict(dict(ir), pipeline_spec_pb2.PipelineSpec())
        outputs = outputs_json(pipeline_orchestrator.run_local_pipeline(pipeline, dict(spec.arguments)))
        state, error, code = "SUCCEEDED", None, 0
    except Exception as raised:  # noqa: BLE001 - kfp.local raises bare types; the steps and problems know the reason
        state = "FAILED"
        reason = problems[0] if problems else f"{type(raised).__name__}: {raised}"
        error, code = f"pipeline {ir['pipelineInfo']['name']!r} could not be followed: {reason}", 1
        if steps.fault:
            error, code = str(steps.fault), steps.fault.exit_code
    for task in leaves(ir):
        if task not in {_TURN.sub("", seen) for seen in steps.seen}:
            emit(task=task, state="SKIPPED", seconds=0.0)
    write_json(place / "outputs.json", _finite({"outputs": outputs, "tasks": steps.done}))
    return {"state": state, "error": error, "exit_code": code}


def _sender(pipe: TextIO) -> Callable[..., None]:
    lock = threading.Lock()

    def emit(*, task: str, state: str, seconds: float | None = None, message: str | None = None) -> None:
        line = json.dumps({"event": {"task": task, "state": state, "seconds": seconds, "message": message}})
        with lock:
            pipe.write(line + "\n")

    return emit


def _finite(value: Any) -> Any:
    """*value* with NaN and infinities as text, which JSON has no number for."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing more is ever written: returns when the parent's end is closed
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The child process of one local run: ``python -m pipelines.here.run SPEC.json``, started by ``runner``.

Standard input is the life line: when it ends the parent is gone, and the whole process group goes too.
"""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipelines.compiling.compiling import read_package
from pipelines.compiling.ir import Ir, check
from pipelines.here.interpreter import Interpreter, Values, leaves
from pipelines.here.step_cache import StepCache
from pipelines.here.steps import StepFailed, Steps
from serving.errors import SlipwayError, UsageError
from serving.files import read_json, write_text

LARGEST = 100_000  # characters; a parameter travels inside one command line argument, which ends at about 128 KiB
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
    model: str = ""


def main(argv: list[str]) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    spec = Spec(**read_json(Path(argv[0])))
    # Each step leaves its program in a temporary directory, which the parent sweeps at the end of the run.
    os.environ["TMPDIR"] = str(Path(argv[0]).with_name("tmp"))
    with os.fdopen(spec.events_fd, "w", buffering=1, encoding="utf-8") as pipe:
        result = run(spec, _sender(pipe))
        pipe.write(json.dumps({"result": result}) + "\n")
    return 0 if result["state"] == "SUCCEEDED" else 1


def run(spec: Spec, emit: Callable[..., None]) -> dict[str, Any]:
    """Run the package to its end; the result's ``error`` is the sentence for people, None when all went well."""
    try:
        ir = read_package(Path(spec.package).read_bytes())[0]  # a second document is only for Kubernetes
        check_arguments(spec.arguments)
        check(ir)
        return _follow(ir, spec, emit)
    except SlipwayError as error:
        return _failed(str(error), error.exit_code)


def _follow(ir: Ir, spec: Spec, emit: Callable[..., None]) -> dict[str, Any]:
    artifacts, place = Path(spec.root) / "pipeline_root", Path(spec.root) / "runs" / spec.run_id
    cache = StepCache(artifacts / "cache") if spec.cache else None
    steps = Steps(artifacts / "runs" / spec.run_id, place / "logs", cache, emit)
    outputs, result = _outcome(Interpreter(ir, steps.execute, spec.run_id), spec.arguments)
    began = {_TURN.sub("", name) for name in steps.seen}
    for task in leaves(ir):
        if task not in began:
            emit(task=task, state="SKIPPED", seconds=0.0)
    write_text(place / "outputs.json", json.dumps({"outputs": outputs, "tasks": steps.done}, indent=2))
    return result


def _outcome(interpreter: Interpreter, arguments: Mapping[str, Any]) -> tuple[Values, dict[str, Any]]:
    try:
        return interpreter.run(arguments), {"state": "SUCCEEDED", "error": None, "exit_code": 0}
    except StepFailed as failed:
        return {}, _failed(failed.cause.sentence, failed.cause.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever stops a run is its result
        name = interpreter.ir["pipelineInfo"]["name"]
        return {}, _failed(f"pipeline {name!r} could not be followed: {type(error).__name__}: {error}", 1)


def _failed(error: str, exit_code: int) -> dict[str, Any]:
    return {"state": "FAILED", "error": error, "exit_code": exit_code}


def _sender(pipe: TextIO) -> Callable[..., None]:
    lock = threading.Lock()

    def emit(*, task: str, state: str, seconds: float | None = None, message: str | None = None) -> None:
        line = json.dumps({"event": {"task": task, "state": state, "seconds": seconds, "message": message}})
        with lock:
            pipe.write(line + "\n")

    return emit


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing more is ever written: returns when the parent's end is closed
    os.killpg(0, signal.SIGKILL)


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what would not arrive as it is.

    Raises:
        UsageError: a text that KFP would take for a placeholder, or a larger one than a command line carries.
    """
    for name, value in arguments.items():
        text = str(value)
        if "{{$" in text:
            raise UsageError(f"argument {name!r} contains '{{{{$', which KFP replaces; encode it")
        if len(text) > LARGEST:
            raise UsageError(
                f"argument {name!r} has {len(text):,} characters, at most {LARGEST:,} travel; "
                "write it to a file and pass its address"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

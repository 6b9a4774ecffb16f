"""One step of a run on this machine: served from the cache or run as a process, with an event at start and end."""

import errno
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.steps.progress import FOLDER
from pipelines.compiling.ir import ENTRY, SELF
from pipelines.here import step_log
from pipelines.here.interpreter import Step, Values, typed
from pipelines.here.step_cache import CachedStep, Content, StepCache, key_of, read_content, unchanged
from pipelines.here.step_log import Cause
from serving.errors import SlipwayError
from serving.files import last_lines

OUTPUT = "executor_output.json"


class StepFailed(Exception):
    """A step did not end well; the text is the cause's sentence."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.sentence)
        self.cause = cause


@dataclass
class Steps:
    """Runs the steps of one run.

    Attributes:
        artifacts: below it lies what steps make, each attempt in a directory of its own.
        cache: None when nothing may be served or kept.
        done: outputs of every step that ended well, by the step's name.
        seen: the names of the steps that began.
    """

    artifacts: Path
    logs: Path
    cache: StepCache | None
    emit: Callable[..., None]
    done: dict[str, Values] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    _contents: dict[str, Content] = field(default_factory=dict)

    def execute(self, step: Step) -> Values:
        """The outputs of *step*.

        Raises:
            StepFailed: whatever stopped it; the sentence names the step, the reason and the log.
        """
        self.seen.add(step.name)
        self.emit(task=step.name, state="RUNNING")
        started = time.monotonic()
        try:
            entry, state = self._outcome(step)
        except Exception as error:
            cause = _cause(error)
            seconds = time.monotonic() - started
            self.emit(task=step.name, state="FAILED", seconds=seconds, message=cause.sentence)
            told = f"{step.name}: {cause.sentence} (log: {step_log.log_of(self.logs, step.name)})"
            raise StepFailed(Cause(told, cause.exit_code)) from error
        self.done[step.name] = entry.outputs
        self.emit(task=step.name, state=state, seconds=time.monotonic() - started, message=entry.summary)
        return entry.outputs

    def _outcome(self, step: Step) -> tuple[CachedStep, Literal["CACHED", "SUCCEEDED"]]:
        log = step_log.log_of(self.logs, step.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        key = self._key(step) if step.cached and self.cache else None
        entry = self.cache.find(key) if self.cache and key else None
        if entry:
            log.write_text(f"served from the cache, made by run {entry.run_id} in {entry.seconds:.1f} s\n")
            self._contents.update(entry.contents)
            return entry, "CACHED"
        entry = self._made(step, log, self.cache.progress(key) if self.cache and key else None)
        self._contents.update(entry.contents)
        if self.cache and key:
            self.cache.keep(key, entry)
        return entry, "SUCCEEDED"

    def _made(self, step: Step, log: Path, progress: Path | None) -> CachedStep:
        parent = self.artifacts / step.name
        parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=parent, prefix="try-"))
        kept = place / FOLDER
        if progress:
            kept.symlink_to(progress.absolute())
        started = time.monotonic()
        with log.open("wb") as words:
            code = subprocess.run(  # noqa: S603 - the compiled command of a step is what we are here to run
                command(step, place), stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT, check=False
            ).returncode
        if kept.is_symlink():
            kept.unlink()
        else:
            shutil.rmtree(kept, ignore_errors=True)
        if code:
            raise StepFailed(step_log.cause(last_lines(log, step_log.TAIL), code))
        outputs = outputs_of(step, place)
        contents = {uri: read_content(uri) for value in outputs.values() for uri in _uris(value)}
        summary = step_log.summary(last_lines(log, step_log.TAIL))
        return CachedStep(self.artifacts.name, time.monotonic() - started, summary, outputs, contents)

    def _key(self, step: Step) -> str | None:
        """What the result of *step* is kept under."""
        signature = {name: part for name, part in step.component.items() if name != "executorLabel"}
        arguments = {name: self._identity(value) for name, value in step.inputs.items()}
        return key_of({"container": step.container, "signature": signature, "arguments": arguments})

    def _identity(self, value: Mapping[str, Any]) -> Any:
        """An argument as it counts for the key: an artifact by what a step can see of it except where it lies."""
        if "value" in value:
            return value
        return [
            {**artifact, "uri": self._content(artifact["uri"]).digest(artifact["uri"])}
            for artifact in _artifacts(value)
        ]

    def _content(self, uri: str) -> Content:
        known = self._contents.get(uri)
        return known if known is not None and unchanged(uri, known) else read_content(uri)


def command(step: Step, place: Path) -> list[str]:
    """The compiled command of *step*, with this interpreter in it and the step's input, writing below *place*."""
    ours = f"{shlex.quote(sys.executable)}{ENTRY.removeprefix('python3')}"
    given = json.dumps(executor_input(step, place))
    compiled = [*step.container["command"], *step.container["args"]]
    return [given if part == SELF else part.replace(ENTRY, ours) for part in compiled]


def executor_input(step: Step, place: Path) -> dict[str, Any]:
    """What the launcher of a cluster tells a step: its inputs, and where its outputs go."""
    promised = step.component.get("outputDefinitions", {})
    files = {
        name: {"artifacts": [_artifact(name, str(place / name), {}, spec)]}
        for name, spec in promised.get("artifacts", {}).items()
    }
    return {
        "inputs": {
            "parameterValues": {name: value["value"] for name, value in step.inputs.items() if "value" in value},
            "artifacts": {
                name: {"artifacts": _artifacts(value)} for name, value in step.inputs.items() if "value" not in value
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": str(place / name)} for name in promised.get("parameters", {})},
            "artifacts": files,
            "outputFile": str(place / OUTPUT),
        },
    }


def outputs_of(step: Step, place: Path) -> Values:
    """The outputs that *step* left below *place*.

    Raises:
        StepFailed: not all are there; a process that leaves early with status 0 writes none.
    """
    promised = step.component.get("outputDefinitions", {})
    path = place / OUTPUT
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    values, files = written.get("parameterValues", {}), written.get("artifacts", {})
    wanted = {**promised.get("parameters", {}), **promised.get("artifacts", {})}
    if missing := [name for name in wanted if name not in values and name not in files]:
        early = f"the step ended early: it wrote no output {missing[0]!r}; let it return, not exit"
        raise StepFailed(Cause(early, 1))
    made: dict[str, Mapping[str, Any]] = {}
    for name, spec in promised.get("parameters", {}).items():
        made[name] = {"value": typed(values[name], spec["parameterType"])}
    for name, spec in promised.get("artifacts", {}).items():
        (one,) = files[name]["artifacts"]
        made[name] = {"artifact": _artifact(name, one["uri"], one["metadata"], spec)}
    return made


def _artifact(name: str, uri: str, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "type": spec["artifactType"], "uri": uri, "metadata": metadata}


def _artifacts(value: Mapping[str, Any]) -> list[Any]:
    return list(value["artifacts"]) if "artifacts" in value else [value["artifact"]]


def _uris(value: Mapping[str, Any]) -> Iterator[str]:
    if "value" not in value:
        yield from (artifact["uri"] for artifact in _artifacts(value))


def _cause(error: Exception) -> Cause:
    if isinstance(error, StepFailed):
        return error.cause
    if isinstance(error, SlipwayError):
        return Cause(str(error), error.exit_code)
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        large = "its parameters are larger than one command line may be (about 128 KiB); pass a file as an artifact"
        return Cause(large, 1)
    return Cause(f"{type(error).__name__}: {error}", 1)

"""One step of a local run: served from the cache or run by kfp.local, with an event at its start and its end."""

import errno
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # no stubs in the lock
from kfp import dsl
from kfp.dsl import executor
from kfp.local import importer_handler, task_dispatcher
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.local.status import Status

from pipelines.here import kfp_shim, step_log
from pipelines.here.step_cache import CachedStep, Content, StepCache, key_of, read_content, unchanged
from serving.errors import SlipwayError

Emit = Callable[..., None]
_GROUP = re.compile(r"(condition|condition-branches|exit-handler)-\d+$")
_RUN_PLACEHOLDER = re.compile(r"\{\{\$\.pipeline_(job|task)_")


class StepError(Exception):
    """A step failed; the text is the sentence for people."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@dataclass
class LocalSteps:
    """Runs the steps of one pipeline run.

    Attributes:
        cache: None when nothing may be served; results are kept all the same only when there is one.
        done: outputs of every step that ended well, as ``outputs_json`` gives them, by the step's name.
        contents: what lies at each artifact's URI, as far as a step of this run made or served it.
    """

    run_id: str
    artifacts: Path
    logs: Path
    cache: StepCache | None
    emit: Emit
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    contents: dict[str, Content] = field(default_factory=dict)
    fault: StepError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(
        self, *, task_name: str, pipeline_resource_name: str, fail_stack: list[str], **given: Any
    ) -> tuple[dict[str, Any], Any]:
        """In the place of kfp's ``execute_single_task``: never raises, so that exit steps run after any failure."""
        del fail_stack
        task = step_name(pipeline_resource_name, task_name)
        self.seen.add(task)
        self.emit(task=task, state="RUNNING")
        started = time.monotonic()
        try:
            outputs, state, summary = self._outcome(task, task_name=task_name, **given)
        except Exception as error:  # noqa: BLE001 - whatever stops a step is a failure of that step, told in its event
            fault = error if isinstance(error, StepError) else StepError(_sentence(error), _exit_code(error))
            self.fault = self.fault or StepError(f"{task}: {fault} (log: {self._log(task)})", fault.exit_code)
            self.emit(task=task, state="FAILED", seconds=time.monotonic() - started, message=str(fault))
            return {}, Status.FAILURE
        self.done[task] = outputs_json(outputs)
        self.emit(task=task, state=state, seconds=time.monotonic() - started, message=summary)
        return outputs, Status.SUCCESS

    def _outcome(
        self, task: str, *, task_spec: Any, components: Mapping[str, Any], executors: Mapping[str, Any],
        io_store: Any, **given: Any,
    ) -> tuple[dict[str, Any], str, str | None]:  # fmt: skip
        name = task_spec.component_ref.name
        arguments = OrchestratorUtils.make_task_arguments(task_inputs_spec=task_spec.inputs, io_store=io_store)
        step = _Step(task, task_spec, name, components[name], executors[components[name].executor_label], arguments)
        log = self._log(task)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        if step.spec.WhichOneof("spec") == "importer":
            return self._import(step, **given), "SUCCEEDED", None
        key = self._key(step)
        entry = self.cache.find(key) if self.cache and key else None
        if entry:
            log.write_text(f"served from the cache, made by run {entry.run_id} in {entry.seconds:.1f} s\n")
            with self._lock:
                self.contents.update(entry.contents)
            return from_json(entry.outputs), "CACHED", entry.summary
        started = time.monotonic()
        outputs = self._attempts(step, log, **given)
        contents = {artifact.uri: read_content(artifact.uri) for artifact in _artifacts(outputs)}
        with self._lock:
            self.contents.update(contents)
        summary = step_log.summary(step_log.tail(log))
        if self.cache and key:
            seconds = time.monotonic() - started
            self.cache.keep(key, CachedStep(self.run_id, seconds, summary, outputs_json(outputs), contents))
        return outputs, "SUCCEEDED", summary

    def _import(self, step: "_Step", **given: Any) -> dict[str, Any]:
        outputs, _ = importer_handler.run_importer(
            pipeline_resource_name=self.run_id, component_name=step.component, component_spec=step.component_spec,
            executor_spec=step.spec, arguments=step.arguments, pipeline_root=given["pipeline_root"],
            unique_pipeline_id=given["unique_pipeline_id"],
        )  # fmt: skip
        for artifact in _artifacts(outputs):
            if read_content(artifact.uri).kind == "absent":
                raise StepError(f"there is nothing to import at {artifact.uri!r}: expected a file or directory", 4)
        return dict(outputs)

    def _attempts(self, step: "_Step", log: Path, **given: Any) -> dict[str, Any]:
        policy = step.task_spec.retry_policy
        for number in range(policy.max_retry_count + 1):
            attempt = kfp_shim.Attempt(self._fresh(step.task), log)
            outputs = self._attempt(step, attempt, **given)
            if outputs is not None:
                return _complete(step, outputs)
            if number < policy.max_retry_count:
                time.sleep(_delay(policy, number))
        cause = step_log.cause(step_log.tail(log), attempt.returncode)
        raise StepError(cause.sentence, cause.exit_code)

    def _attempt(self, step: "_Step", attempt: kfp_shim.Attempt, **given: Any) -> dict[str, Any] | None:
        """The outputs of one go at *step*, None when its process ended badly."""
        token = kfp_shim.current.set(attempt)
        try:
            outputs, status = task_dispatcher.run_single_task_implementation(
                pipeline_resource_name=self.run_id, component_name=step.component, component_spec=step.component_spec,
                executor_spec=step.spec, arguments=step.arguments, pipeline_root=given["pipeline_root"],
                runner=given["runner"], raise_on_error=False, block_input_artifact=False,
                unique_pipeline_id=given["unique_pipeline_id"],
            )  # fmt: skip
        finally:
            kfp_shim.current.reset(token)
        return dict(outputs) if status == Status.SUCCESS else None

    def _key(self, step: "_Step") -> str | None:
        """What the result of *step* is kept under; None when it must run: told so, or it looks at the run."""
        container = step.spec.container
        signature = MessageToDict(step.component_spec)
        signature.pop("executorLabel")  # counts how often a component is used, not what it does
        constants = MessageToDict(step.task_spec.inputs).get("parameters", {})
        command = [*container.command, *container.args]
        if not step.task_spec.caching_options.enable_cache or _RUN_PLACEHOLDER.search(str([constants, command])):
            return None
        return key_of({
            "image": container.image,
            "command": command,
            "environment": {variable.name: variable.value for variable in container.env},
            "signature": signature,
            "arguments": {name: self._identity(value) for name, value in step.arguments.items()},
        })  # fmt: skip

    def _identity(self, value: Any) -> Any:
        """An argument as it counts for the key: an artifact by what a step can see of it except where it lies."""
        if isinstance(value, list) and value and isinstance(value[0], dsl.Artifact):
            return {"artifacts": [self._identity(artifact) for artifact in value]}
        if not isinstance(value, dsl.Artifact):
            return {"value": _number(value)}
        content = self.contents.get(value.uri)
        if content is None or not unchanged(value.uri, content):
            content = read_content(value.uri)
        return {
            "name": value.name,
            "type": value.schema_title,
            "metadata": value.metadata,
            "content": content.digest(value.uri),
        }

    def _fresh(self, task: str) -> Path:
        parent = self.artifacts / self.run_id / task
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=parent, prefix="try-"))

    def _log(self, task: str) -> Path:
        return self.logs / f"{task.replace('/', '.')}.log"


@dataclass(frozen=True)
class _Step:
    task: str
    task_spec: Any
    component: str
    component_spec: Any
    spec: Any
    arguments: Mapping[str, Any]


def step_name(resource_name: str, task_name: str) -> str:
    """The step's name for people: nested pipelines and loop turns lead to it, conditions and exit handlers do not."""
    groups = [group for group in resource_name.split("/")[1:] if not _GROUP.match(group)]
    return "/".join([*groups, task_name])


def outputs_json(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs of a step or run as JSON: ``{"value": v}``, ``{"artifact": {...}}`` or ``{"artifacts": [...]}``."""
    return {name: _output_json(value) for name, value in outputs.items()}


def from_json(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _output(value) for name, value in outputs.items()}


def _output_json(value: Any) -> dict[str, Any]:
    if isinstance(value, dsl.Artifact):
        return {"artifact": _artifact_json(value)}
    if isinstance(value, list) and value and isinstance(value[0], dsl.Artifact):
        return {"artifacts": [_artifact_json(artifact) for artifact in value]}
    return {"value": value}


def _artifact_json(artifact: dsl.Artifact) -> dict[str, Any]:
    kind = {"schemaTitle": artifact.schema_title, "schemaVersion": artifact.schema_version}
    return {"name": artifact.name, "uri": artifact.uri, "metadata": artifact.metadata, "type": kind}


def _output(value: Mapping[str, Any]) -> Any:
    if "artifact" in value:
        return executor.create_artifact_instance(dict(value["artifact"]))
    if "artifacts" in value:
        return [executor.create_artifact_instance(dict(artifact)) for artifact in value["artifacts"]]
    return value["value"]


def _artifacts(outputs: Mapping[str, Any]) -> list[dsl.Artifact]:
    flat = [one for value in outputs.values() for one in (value if isinstance(value, list) else [value])]
    return [value for value in flat if isinstance(value, dsl.Artifact)]


def _complete(step: _Step, outputs: dict[str, Any]) -> dict[str, Any]:
    """*outputs*, if all are there: a process that leaves early with status 0 writes none and counts as well done."""
    promised = step.component_spec.output_definitions
    missing = [name for name in [*promised.parameters, *promised.artifacts] if name not in outputs]
    if missing:
        raise StepError(f"the step ended early: it wrote no output {missing[0]!r}; let it return, not exit")
    return outputs


def _number(value: Any) -> Any:
    """Whole floats as integers, inside of lists and dicts too: kfp turns one into the other on the way to a step."""
    if isinstance(value, dict):
        return {name: _number(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_number(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _delay(policy: Any, number: int) -> float:
    factor = policy.backoff_factor if policy.backoff_factor > 0 else 2.0
    most = policy.backoff_max_duration.seconds if policy.HasField("backoff_max_duration") else 3600
    return float(min(policy.backoff_duration.seconds * factor**number, most))


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, SlipwayError) else 1


def _sentence(error: Exception) -> str:
    if isinstance(error, SlipwayError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return "its parameters are larger than one command line may be (about 128 KiB); pass a file as an artifact"
    return f"{type(error).__name__}: {error}"

"""Repairs of kfp.local 2.17: what it gets wrong with a compiled pipeline, set right in this process only.

Installed by the child process that runs one pipeline (``local_run``). It reaches into private names of kfp.local, so
it insists on the version it was written for; each repair has its own regression test.
"""

import contextlib
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import PlaceError

WRITTEN_FOR = "2.17."
_CHANNEL = "pipelinechannel--"


@dataclass
class Attempt:
    """One go at one step: where its outputs go, where its log is, and how it ended."""

    place: Path
    log: Path
    returncode: int | None = None


current: ContextVar[Attempt] = ContextVar("attempt")


class OrchestrationError(Exception):
    """The pipeline itself cannot be followed: a condition without a value, a loop without a list."""


def without_client() -> None:
    """Let ``import kfp`` leave out its API client, which a local run never calls and which takes most of its time."""
    if "kfp" not in sys.modules:
        stand_in = types.ModuleType("kfp.client")
        stand_in.Client = None  # type: ignore[attr-defined]  # a module made by hand
        sys.modules["kfp.client"] = stand_in


def install(execute: Callable[..., Any], on_problem: Callable[[str], None]) -> None:
    """Repair kfp.local and let *execute* (the signature of ``execute_single_task``) run every step.

    *on_problem* is told each ``OrchestrationError``, since kfp.local loses the reason of one inside a loop.

    Raises:
        PlaceError: another version of kfp is installed.
    """
    require_version()
    from kfp.local.orchestrator import task_executor

    task_executor.execute_single_task = execute
    _repair_printing()
    _repair_order()
    _repair_references()
    _repair_nesting()
    _repair_conditions(on_problem)
    _repair_empty_loops()
    _repair_steps()


def require_version() -> None:
    import kfp

    if not kfp.__version__.startswith(WRITTEN_FOR):
        raise PlaceError(
            f"kfp {kfp.__version__} is installed, but the local runner was written for {WRITTEN_FOR}x; "
            "install the versions of requirements.lock"
        )


def _repair_printing() -> None:
    """It replaces ``print`` and the root logger's handlers around each step, which a loop's threads undo wrongly."""
    from kfp.local import logging_utils

    def quiet(*_args: Any, **_kwargs: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    logging_utils.indented_print = quiet
    logging_utils.local_logger_context = quiet
    logging_utils.print_horizontal_line = lambda: None


def _repair_order() -> None:
    """Steps run in the order in which a hash map gives them, another one in each process."""
    from kfp.local import graph_utils

    def topological_sort_tasks(tasks: Mapping[str, Any]) -> list[str]:
        return in_order({name: spec.dependent_tasks for name, spec in tasks.items()})[::-1]  # taken from the end

    graph_utils.topological_sort_tasks = topological_sort_tasks


def in_order(dependencies: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of *dependencies*, each after those it depends on, by name where that leaves a choice."""
    waiting = {name: set(before) & set(dependencies) for name, before in dependencies.items()}
    order: list[str] = []
    while waiting:
        following = min(name for name, before in waiting.items() if before <= set(order))
        order.append(following)
        del waiting[following]
    return order


def _repair_references() -> None:
    """A condition or loop over a named output of a step is looked up as an input of the graph, which it is not."""
    from kfp.local.io import IOStore

    look = IOStore.get_parent_input

    def get_parent_input(self: Any, key: str) -> Any:
        try:
            return look(self, key)
        except ValueError:
            found = _named_output(self, key.removeprefix(_CHANNEL))
            if found is None:
                raise
            return found[0]

    IOStore.get_parent_input = get_parent_input


def _named_output(store: Any, key: str) -> tuple[Any] | None:
    while store is not None:
        for task, outputs in store._task_output_data.items():
            for name, value in outputs.items():
                if key == f"{task}-{name}":
                    return (value,)
        store = store._parent
    return None


def _repair_nesting() -> None:
    """A nested pipeline given artifacts alone gets none of them, and two nested graphs share one set of step names."""
    from kfp.local.orchestrator import task_spec_utils
    from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils

    build = task_spec_utils.build_nested_dag_arguments

    def build_nested_dag_arguments(*, task_name: str, task_spec: Any, component_spec: Any, io_store: Any) -> Any:
        arguments = build(task_name=task_name, task_spec=task_spec, component_spec=component_spec, io_store=io_store)
        given = OrchestratorUtils.make_task_arguments(task_spec.inputs, io_store)
        return {**given, **arguments}

    task_spec_utils.build_nested_dag_arguments = build_nested_dag_arguments
    task_spec_utils.get_nested_pipeline_resource_name = lambda task_name, pipeline_resource_name: (
        f"{pipeline_resource_name}/{task_name}"
    )


def _repair_conditions(on_problem: Callable[[str], None]) -> None:
    """A condition that cannot be evaluated counts as false, and values are pasted into code as text."""
    from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator

    def evaluate_condition(condition: str, io_store: Any) -> bool:
        try:
            return evaluate(condition, io_store.get_parent_input)
        except OrchestrationError as error:
            on_problem(str(error))
            raise

    ConditionEvaluator.evaluate_condition = staticmethod(evaluate_condition)


_TEXT = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_INPUT = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_NAMES = {"true": True, "false": False, "null": None, "int": int, "double": float, "string": str, "size": len}


def evaluate(condition: str, look: Callable[[str], Any]) -> bool:
    """The truth of a compiled *condition*; ``look`` gives the value of an input. Values are bound, never pasted.

    Raises:
        OrchestrationError: an input has no value or the expression is not one.
    """
    values: dict[str, Any] = {}

    def bind(match: re.Match[str]) -> str:
        try:
            value = look(match.group(1))
        except ValueError as error:
            raise OrchestrationError(f"cannot evaluate {condition!r}: {match.group(1)} has no value") from error
        name = f"value_{len(values)}"
        values[name] = value
        return name

    try:
        text = _python(_INPUT.sub(bind, condition))
        return bool(eval(text, {"__builtins__": {}, **_NAMES}, values))  # noqa: S307 - compiled by us, values bound
    except OrchestrationError:
        raise
    except Exception as error:
        raise OrchestrationError(f"cannot evaluate {condition!r} with {values}: {error}") from error


def _python(condition: str) -> str:
    """The CEL operators of *condition* as Python's, except inside of string literals."""
    parts = _TEXT.split(condition)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"!(?!=)", " not ", parts[i].replace("&&", " and ").replace("||", " or "))
    return "".join(parts)


def _repair_empty_loops() -> None:
    """A loop over an empty list leaves nothing for those who collect its outputs: give them empty lists."""
    from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator

    loop = orchestrator._run_parallel_for_task

    def run_parallel_for_task(**given: Any) -> bool:
        failed: bool = loop(**given)
        name, store = given["task_name"], given["io_store"]
        if not failed:
            outputs = given["components"][given["task_spec"].component_ref.name].output_definitions
            for key in [*outputs.parameters, *outputs.artifacts]:
                if key not in store._task_output_data.get(name, {}):
                    store.put_task_output(name, key, [])
        return failed

    orchestrator._run_parallel_for_task = run_parallel_for_task


def _repair_steps() -> None:
    """Outputs of a step go to its own fresh directory and its words to its own log; nothing is read from a terminal."""
    from kfp.local import executor_input_utils, subprocess_task_handler

    def run_local_subprocess(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        attempt = current.get()
        named = ["env", *(f"{name}={value}" for name, value in env_vars.items())] if env_vars else []
        with attempt.log.open("ab") as log:
            attempt.returncode = subprocess.run(  # noqa: S603 - the compiled command of a step is what we are here to run
                [*named, *full_command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode
        return attempt.returncode

    subprocess_task_handler.run_local_subprocess = run_local_subprocess
    executor_input_utils.construct_local_task_root = lambda **_: str(current.get().place)

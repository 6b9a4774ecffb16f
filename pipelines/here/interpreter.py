"""Follow a compiled graph: its tasks in order, conditions and loops as they come up, groups as graphs of their own.

What a graph hands around are values: a parameter is ``{"value": v}``, an artifact ``{"artifact": {...}}`` with name,
uri, type and metadata, and the artifacts of a loop ``{"artifacts": [...]}``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from pipelines.compiling.ir import RUN, Ir, terms

Values = Mapping[str, Mapping[str, Any]]
SIDE_BY_SIDE = 2  # turns of one loop at a time; a step uses the machine's cores itself
_CONDITION = re.compile(r"condition(-branches)?-\d+")


@dataclass(frozen=True)
class Step:
    """One step that is to run: its name for people, its compiled signature and container, and what it is given."""

    name: str
    component: Mapping[str, Any]
    container: Mapping[str, Any]
    inputs: Values
    cached: bool


@dataclass(frozen=True)
class Interpreter:
    """Follows *ir*, which ``ir.check`` has passed, as the run *run_id*; *execute* runs a step and gives its outputs, or
    raises."""

    ir: Ir
    execute: Callable[[Step], Values]
    run_id: str = ""

    def run(self, arguments: Mapping[str, Any]) -> Values:
        """Run the whole graph with plain *arguments*; returns its outputs. What *execute* raises ends it."""
        return self._graph(self.ir["root"], {name: {"value": value} for name, value in arguments.items()}, ())

    def _graph(self, component: Mapping[str, Any], given: Values, groups: tuple[str, ...]) -> Values:
        tasks, inputs = component["dag"]["tasks"], _complete(component, given)
        made: dict[str, Values] = {}
        for name in in_order({name: task.get("dependentTasks", ()) for name, task in tasks.items()}):
            wanted = {key: self._value(source, inputs, made) for key, source in _sources(tasks[name])}
            if _holds(tasks[name], wanted):
                made[name] = self._task(name, tasks[name], wanted, groups)
        return {key: made[task][output] for key, task, output in _outputs(component["dag"]) if task in made}

    def _value(self, source: Mapping[str, Any], inputs: Values, made: Mapping[str, Values]) -> Mapping[str, Any]:
        """The value behind one input of a task: written down, an input of the graph around it, or a task's output."""
        if "runtimeValue" in source:
            constant = source["runtimeValue"]["constant"]
            return {"value": self.run_id if constant == RUN else constant}
        outer = source.get("componentInputParameter") or source.get("componentInputArtifact")
        if outer:
            return inputs[outer]
        output = source.get("taskOutputParameter") or source["taskOutputArtifact"]
        return made[output["producerTask"]][output.get("outputParameterKey") or output["outputArtifactKey"]]

    def _task(self, name: str, task: Mapping[str, Any], given: Values, groups: tuple[str, ...]) -> Values:
        loop = task.get("parameterIterator")
        if loop is None:
            return self._once(name, task, given, groups)

        def turn(number: int, item: Any) -> Values:
            inputs = {**given, loop["itemInput"]: {"value": item}}
            return self._once(f"{name}-iteration-{number}", task, inputs, groups)

        most = task.get("iteratorPolicy", {}).get("parallelismLimit", SIDE_BY_SIDE)
        with ThreadPoolExecutor(min(most, SIDE_BY_SIDE)) as pool:
            items = given[loop["items"]["inputParameter"]]["value"]
            turns = [pool.submit(turn, number, item) for number, item in enumerate(items)]
        return _collected(_component(self.ir, task), [turn.result() for turn in turns])

    def _once(self, name: str, task: Mapping[str, Any], given: Values, groups: tuple[str, ...]) -> Values:
        component = _component(self.ir, task)
        if "dag" in component:
            return self._graph(component, given, _within(groups, name))
        container = self.ir["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        cached = bool(task.get("cachingOptions", {}).get("enableCache"))
        return self.execute(Step("/".join((*groups, name)), component, container, _complete(component, given), cached))


def leaves(ir: Ir) -> Iterator[str]:
    """The name of every step that *ir* could run, as a run names it, loops without their turns."""
    yield from _leaves(ir, ir["root"], ())


def in_order(dependencies: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of *dependencies*, each after those it depends on, by name where that leaves a choice."""
    return list(TopologicalSorter(dict(sorted(dependencies.items()))).static_order())


def typed(value: Any, kind: str) -> Any:
    """*value* as its parameter's *kind* has it; YAML and JSON do not tell 8 from 8.0."""
    number = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}.get(kind)
    return number(value) if number else value


def _leaves(ir: Ir, component: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[str]:
    for name, task in component["dag"]["tasks"].items():
        inner = _component(ir, task)
        if "dag" in inner:
            yield from _leaves(ir, inner, _within(groups, name))
        else:
            yield "/".join((*groups, name))


def _component(ir: Ir, task: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ir["components"][task["componentRef"]["name"]]
    return found


def _within(groups: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The groups that lead to the steps inside of *name*: loops and nested graphs do, conditions do not."""
    return groups if _CONDITION.fullmatch(name) else (*groups, name)


def _complete(component: Mapping[str, Any], given: Values) -> Values:
    """*given*, with the defaults of *component* and numbers of the kinds it asks for."""
    asked = component.get("inputDefinitions", {}).get("parameters", {})
    defaults = {name: {"value": spec["defaultValue"]} for name, spec in asked.items() if "defaultValue" in spec}
    return {
        name: {"value": typed(value["value"], asked[name]["parameterType"])} if name in asked else value
        for name, value in {**defaults, **given}.items()
    }


def _sources(task: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in task.get("inputs", {}).values():
        yield from part.items()


def _holds(task: Mapping[str, Any], given: Values) -> bool:
    condition = task.get("triggerPolicy", {}).get("condition")
    return all((given[name]["value"] == text) is equal for name, text, equal in terms(condition)) if condition else True


def _outputs(dag: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(output, the task that makes it, its name there) of a graph."""
    outputs = dag.get("outputs", {})
    for name, source in outputs.get("parameters", {}).items():
        chosen = source["valueFromParameter"]
        yield name, chosen["producerSubtask"], chosen["outputParameterKey"]
    for name, source in outputs.get("artifacts", {}).items():
        chosen = source["artifactSelectors"][0]
        yield name, chosen["producerSubtask"], chosen["outputArtifactKey"]


def _collected(component: Mapping[str, Any], turns: list[Values]) -> Values:
    """What the turns of a loop made, in their order; an empty loop leaves empty lists."""
    asked = component.get("outputDefinitions", {})
    values = {name: {"value": [turn[name]["value"] for turn in turns]} for name in asked.get("parameters", {})}
    files = {name: {"artifacts": [turn[name]["artifact"] for turn in turns]} for name in asked.get("artifacts", {})}
    return {**values, **files}

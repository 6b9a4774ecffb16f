"""A compiled pipeline as nodes to look at: every task with the groups around it and where its inputs come from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

GROUP = re.compile(r"(condition-branches|condition|for-loop|exit-handler)-\d+$")
Kind = Literal["constant", "parameter", "output", "status", "unknown"]


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: ``name`` is a parameter of the pipeline or an output; ``item``: one turn's share."""

    kind: Kind
    name: str = ""
    default: Any = None
    item: bool = False

    @property
    def named_output(self) -> bool:
        """An output with a name of its own; a single return value is called Output, those of groups pass through."""
        return self.kind == "output" and self.name != "Output" and not self.name.startswith("pipelinechannel--")


@dataclass(frozen=True)
class Scope:
    """One graph: a pipeline or a group of it. ``groups`` are the names around it, outermost first, itself last."""

    pipeline: str
    component: Mapping[str, Any]
    origins: Mapping[str, Origin]
    groups: tuple[str, ...] = ()

    @property
    def tasks(self) -> Mapping[str, Any]:
        tasks: Mapping[str, Any] = self.component["dag"]["tasks"]
        return tasks

    @property
    def inputs(self) -> set[str]:
        return {name for part in self.component.get("inputDefinitions", {}).values() for name in part}

    @property
    def is_group(self) -> bool:
        return bool(self.groups) and bool(GROUP.match(self.groups[-1]))

    def within(self, group: str) -> bool:
        return any(name.startswith(f"{group}-") for name in self.groups)


@dataclass(frozen=True)
class Node:
    """One task of a graph."""

    name: str
    spec: Mapping[str, Any]
    component: Mapping[str, Any]
    executor: Mapping[str, Any]
    scope: Scope

    @property
    def parameters(self) -> Mapping[str, Any]:
        return dict(self.spec.get("inputs", {}).get("parameters", {}))

    @property
    def artifacts(self) -> Mapping[str, Any]:
        return dict(self.spec.get("inputs", {}).get("artifacts", {}))

    @property
    def is_group(self) -> bool:
        return "dag" in self.component and bool(GROUP.match(self.name))

    @property
    def condition(self) -> str | None:
        condition: str | None = self.spec.get("triggerPolicy", {}).get("condition")
        return condition

    @property
    def label(self) -> str:
        label: str = self.component.get("executorLabel", "")
        return label

    def origin(self, parameter: str) -> Origin:
        return _origin(self.parameters.get(parameter, {}), self.scope)

    def constants(self) -> Iterator[str]:
        """Every text written into this task: its constant inputs, and the command and address of its executor."""
        for given in self.parameters.values():
            yield str(given.get("runtimeValue", {}).get("constant", ""))
        yield from map(str, self.executor.get("container", {}).get("args", []))


def walk(ir: Mapping[str, Any]) -> Iterator[Scope | Node]:
    """Every graph of *ir*, each followed by its tasks, from the outside in."""
    root = Scope(ir["pipelineInfo"]["name"], ir["root"], _parameters(ir["root"]))
    yield from _walk(ir, root)


def _walk(ir: Mapping[str, Any], scope: Scope) -> Iterator[Scope | Node]:
    yield scope
    inner: list[Scope] = []
    for name, spec in scope.tasks.items():
        component = ir["components"].get(spec["componentRef"]["name"], {})
        executor = ir["deploymentSpec"]["executors"].get(component.get("executorLabel"), {})
        node = Node(name, spec, component, executor, scope)
        yield node
        if "dag" in component:
            pipeline = scope.pipeline if node.is_group else spec["componentRef"]["name"].removeprefix("comp-")
            inner.append(Scope(pipeline, component, _passed(node), (*scope.groups, name)))
    for graph in inner:
        yield from _walk(ir, graph)


def _parameters(component: Mapping[str, Any]) -> dict[str, Origin]:
    given = component.get("inputDefinitions", {}).get("parameters", {})
    return {name: Origin("parameter", name, spec.get("defaultValue")) for name, spec in given.items()}


def _passed(node: Node) -> dict[str, Origin]:
    """The origins of the inputs inside of *node*'s graph."""
    origins = {name: Origin("parameter", name, origin.default) for name, origin in _parameters(node.component).items()}
    origins.update({name: node.origin(name) for name in node.parameters})
    iterator = node.spec.get("parameterIterator")
    if iterator:
        items = node.origin(iterator["items"].get("inputParameter", ""))
        origins[iterator["itemInput"]] = Origin(items.kind, items.name, items.default, item=True)
    return origins


def _origin(given: Mapping[str, Any], scope: Scope) -> Origin:
    if "taskOutputParameter" in given:
        return Origin("output", given["taskOutputParameter"]["outputParameterKey"])
    if "componentInputParameter" in given:
        return scope.origins.get(given["componentInputParameter"], Origin("unknown"))
    if "runtimeValue" in given:
        return Origin("constant", default=given["runtimeValue"].get("constant"))
    return Origin("status" if "taskFinalStatus" in given else "unknown")

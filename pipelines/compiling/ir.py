"""The part of KFP's compiled form that a run on this machine follows; what else a package holds is refused by name.

KFP compiles far more than two graphs use, and a construct that is half understood takes the wrong branch and reports
success. So the shape below is the whole of it: steps, conditions on a text, loops over a list, graphs inside of graphs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from serving.errors import ConfigError

Ir = Mapping[str, Any]
ENTRY = "python3 -m kfp.dsl.executor_main"  # how the command of a lightweight Python component starts the step
SELF = "{{$}}"  # stands for the step's own input
RUN = "{{$.pipeline_job_uuid}}"  # stands for the run
_PLACEHOLDER = "{{$"
_TERM = re.compile(r"(!\()?inputs\.parameter_values\['([^']+)'\] (==|!=) '([^'\\\n]*)'(?(1)\))")

_ANY = None
_INPUTS = {
    "parameters": {
        "*": {
            "componentInputParameter": _ANY,
            "runtimeValue": {"constant": _ANY},
            "taskOutputParameter": {"outputParameterKey": _ANY, "producerTask": _ANY},
        }
    },
    "artifacts": {
        "*": {
            "componentInputArtifact": _ANY,
            "taskOutputArtifact": {"outputArtifactKey": _ANY, "producerTask": _ANY},
        }
    },
}
_TASK = {
    "cachingOptions": {"enableCache": _ANY},
    "componentRef": {"name": _ANY},
    "dependentTasks": _ANY,
    "inputs": _INPUTS,
    "iteratorPolicy": {"parallelismLimit": _ANY},
    "parameterIterator": {"itemInput": _ANY, "items": {"inputParameter": _ANY}},
    "taskInfo": _ANY,
    "triggerPolicy": {"condition": _ANY},
}
_COMPONENT = {
    "dag": {
        "tasks": {"*": _TASK},
        "outputs": {"parameters": {"*": {"valueFromParameter": _ANY}}, "artifacts": {"*": {"artifactSelectors": _ANY}}},
    },
    "executorLabel": _ANY,
    "inputDefinitions": _ANY,
    "outputDefinitions": _ANY,
}
_SHAPE = {
    "components": {"*": _COMPONENT},
    "deploymentSpec": {
        # Resources are the cluster's to give; a step on this machine takes what it needs.
        "executors": {"*": {"container": {"args": _ANY, "command": _ANY, "image": _ANY, "resources": _ANY}}}
    },
    "pipelineInfo": _ANY,
    "root": _COMPONENT,
    "schemaVersion": _ANY,
    "sdkVersion": _ANY,
}


def check(ir: Ir) -> None:
    """Refuse what a run on this machine could not follow to the letter.

    Raises:
        ConfigError: a construct outside of the shape; the message has its path in the compiled form.
    """
    faults = [*_unknown(ir, _SHAPE, ()), *_unread(ir)]
    if faults:
        name = ir.get("pipelineInfo", {}).get("name", "")
        raise ConfigError(
            f"pipeline {name!r}: {faults[0]} is nothing that a run on this machine understands; expected steps, "
            "dsl.If and dsl.Else on a text, dsl.ParallelFor over a list, and dsl.Collected"
        )


def terms(condition: str) -> list[tuple[str, str, bool]]:
    """(input, text, whether they must be equal) of each part of *condition*; all must hold.

    Raises:
        ValueError: it is no conjunction of comparisons with a plain text.
    """
    found = [(part, _TERM.fullmatch(part)) for part in condition.split(" && ")]
    if unread := [part for part, match in found if match is None]:
        raise ValueError(unread[0])
    matches = [match.groups() for _, match in found if match]
    return [(name, text, (sign == "==") is not bool(negated)) for negated, name, sign, text in matches]


def _unknown(value: Any, shape: Any, path: tuple[str, ...]) -> Iterator[str]:
    if shape is _ANY:
        return
    for key, inner in value.items():
        if key not in shape and "*" not in shape:
            yield repr(".".join((*path, key)))
        else:
            yield from _unknown(inner, shape.get(key, shape.get("*")), (*path, key))


def _unread(ir: Ir) -> Iterator[str]:
    """What has the right shape and cannot be read all the same."""
    for label, executor in ir["deploymentSpec"]["executors"].items():
        container = executor.get("container", {})
        if not any(ENTRY in part for part in container.get("command", ())):
            yield f"the command of {label!r}, which is no lightweight Python component,"
        yield from _placeholders(label, [*container.get("command", ()), *container.get("args", ())])
    for component in (ir["root"], *ir["components"].values()):
        dag = component.get("dag", {})
        for name, chosen in dag.get("outputs", {}).get("artifacts", {}).items():
            if len(chosen["artifactSelectors"]) != 1:
                yield f"the choice between artifacts for {name!r}"
        for name, task in dag.get("tasks", {}).items():
            yield from _unread_task(name, task)


def _unread_task(name: str, task: Mapping[str, Any]) -> Iterator[str]:
    given = task.get("inputs", {}).get("parameters", {}).values()
    yield from _placeholders(name, [source.get("runtimeValue", {}).get("constant", "") for source in given])
    if condition := task.get("triggerPolicy", {}).get("condition"):
        try:
            terms(condition)
        except ValueError as error:
            yield f"the condition {error} of {name!r}"


def _placeholders(owner: str, texts: list[Any]) -> Iterator[str]:
    for text in texts:
        if _PLACEHOLDER in str(text) and text not in (SELF, RUN):
            yield f"the placeholder in {text!r} of {owner!r}"

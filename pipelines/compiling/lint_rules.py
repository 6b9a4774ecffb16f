"""The constructs that go wrong on this machine or on a server, each with where it does and what to write instead."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pipelines.compiling.arguments import LARGEST
from pipelines.compiling.lint_graph import Node, Scope

_REFERENCE = re.compile(r"inputs\.parameter_values\['([^']+)'\]|\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_LITERAL = re.compile(r"inputs\.parameter_values\['[^']+'\]|'(?:[^'\\\n]|\\.)*'")
_JOB_TIME = re.compile(r"\{\{\$\.pipeline_job_(resource_name|create_time_utc|schedule_time_utc)\}\}")
_ADDRESS = re.compile(r"[a-z0-9]+://")
_NUMBERS = ("NUMBER_DOUBLE", "NUMBER_INTEGER", "BOOLEAN")


class Problem(NamedTuple):
    """One construct: the rule it breaks, what goes wrong and where, and the remedy."""

    rule: str
    problem: str
    remedy: str


Rule = Callable[[Node], Iterator[Problem]]


def condition_on_named_output(node: Node) -> Iterator[Problem]:
    branched = bool(node.scope.groups) and node.scope.groups[-1].startswith("condition-branches-")
    if not node.condition or branched:
        return
    for name in _references(node.condition):
        origin = node.origin(name)
        if not origin.named_output:
            continue
        if node.scope.within("condition"):
            yield Problem(
                "nested-condition",
                f"a condition inside of a condition looks at the output {origin.name!r}; kfp.local skips it silently",
                "decide in one step that returns one word, and branch once on that",
            )
        else:
            yield Problem(
                "condition-on-named-output",
                f"dsl.If without dsl.Else looks at the output {origin.name!r}; kfp.local takes it for false",
                "add dsl.Else(), or let the step return this value alone (-> str)",
            )


def condition_text(node: Node) -> Iterator[Problem]:
    if node.condition and "'" in _LITERAL.sub("", node.condition):
        yield Problem(
            "quote-in-condition",
            f"the text compared in {node.condition} holds a quote or a line break, which ends it early everywhere",
            "compare with a plain word",
        )


def loop_over_named_output(node: Node) -> Iterator[Problem]:
    items = node.spec.get("parameterIterator", {}).get("items", {}).get("inputParameter")
    if items and node.origin(items).named_output:
        yield Problem(
            "loop-over-named-output",
            f"dsl.ParallelFor runs over the output {node.origin(items).name!r}; kfp.local does not find it and stops",
            "let the step return the list alone (-> list)",
        )


def loop_over_nothing(node: Node) -> Iterator[Problem]:
    items = node.spec.get("parameterIterator", {}).get("items", {})
    origin = node.origin(items.get("inputParameter", ""))
    empty_default = origin.kind in ("parameter", "constant") and origin.default == []
    if items and (empty_default or str(items.get("raw", "?")).replace(" ", "") == "[]"):
        yield Problem(
            "empty-list",
            "dsl.ParallelFor runs over a list that is empty by default; collecting its outputs then fails in kfp.local",
            "give the parameter no default, or one with an item",
        )


def numbers_from_list_parameter(node: Node) -> Iterator[Problem]:
    if node.is_group:
        return
    types = node.component.get("inputDefinitions", {}).get("parameters", {})
    for name in node.parameters:
        origin = node.origin(name)
        kind = types.get(name, {}).get("parameterType")
        if origin.item and origin.kind == "parameter" and kind in _NUMBERS:
            yield Problem(
                "number-from-list-parameter",
                f"the input {name!r} ({kind}) takes an item of the list parameter {origin.name!r}; on a server each "
                'such task ends with "type mismatch: expect NUMBER_DOUBLE, got string"',
                f"let {name!r} be a str and convert it in the step, or loop over a list that is written out",
            )


def dangling_inputs(node: Node) -> Iterator[Problem]:
    wanted = [
        given["componentInputParameter"] for given in node.parameters.values() if "componentInputParameter" in given
    ]
    wanted += [
        given["componentInputArtifact"] for given in node.artifacts.values() if "componentInputArtifact" in given
    ]
    for name in wanted:
        if name not in node.scope.inputs:
            yield _dangling(f"an input {name!r} that the graph around it does not have")
    texts = [node.condition or "", *node.constants()]
    for name in _references(" ".join(texts)):
        if name not in node.parameters:
            yield _dangling(f"an input {name!r} of its own that it does not have")


def dangling_outputs(node: Node) -> Iterator[Problem]:
    references = [given.get("taskOutputParameter") for given in node.parameters.values()]
    references += [given.get("taskOutputArtifact") for given in node.artifacts.values()]
    for reference in filter(None, references):
        if reference["producerTask"] not in node.scope.tasks:
            yield _dangling(f"the task {reference['producerTask']!r}, which is not in the same graph")


def _dangling(what: str) -> Problem:
    return Problem(
        "dangling-reference",
        f"the compiler made it refer to {what}; it fails on this machine and on a server",
        "hand the items to the step as separate arguments, or put the block into a pipeline of its own",
    )


def placeholders(node: Node) -> Iterator[Problem]:
    text = " ".join(node.constants())
    for match in _JOB_TIME.finditer(text):
        yield Problem(
            "job-placeholder",
            f"it uses {match.group()}, which kfp.local cannot fill in and fails on",
            "take the value as a parameter of the pipeline",
        )
    if "{{$.workspace_path}}" in text:
        yield _workspace()


def _workspace() -> Problem:
    return Problem(
        "workspace",
        "a workspace is claimed but not mounted on a server, and deleted after each run on this machine",
        "hand files on as artifacts",
    )


def platform_environment(node: Node, platform: Mapping[str, Any]) -> Iterator[Problem]:
    settings = platform.get("deploymentSpec", {}).get("executors", {}).get(node.label, {})
    for key, call, instead in (
        ("secretAsEnv", "use_secret_as_env", "use_secret_as_volume"),
        ("configMapAsEnv", "use_config_map_as_env", "use_config_map_as_volume"),
    ):
        if key in settings:
            yield Problem(
                "environment-from-cluster",
                f'{call} is refused at submission by servers up to 2.14 (HTTP 500 "unknown field optional") '
                "and ignored on this machine",
                f"mount it with {instead} and read the file in the step",
            )


def importers(node: Node) -> Iterator[Problem]:
    if "importer" not in node.executor:
        return
    if node.scope.within("for-loop"):
        yield Problem(
            "importer-in-loop",
            "an importer inside of dsl.ParallelFor does not work on a server",
            "hand the address to a step and read it there",
        )
    address = str(node.executor["importer"].get("artifactUri", {}).get("constant", ""))
    if _ADDRESS.match(address):
        yield Problem(
            "importer-address",
            f"kfp.local does not fetch {address!r}: the path it gives does not exist",
            "take the address as a parameter and read it in a step",
        )


def nested_pipeline_of_artifacts(node: Node) -> Iterator[Problem]:
    if "dag" in node.component and not node.is_group and node.artifacts and not node.parameters:
        yield Problem(
            "artifacts-only",
            "a pipeline inside of a pipeline is given artifacts and no parameter; kfp.local hands it none of them",
            "pass it a parameter as well",
        )


def cached_exit(node: Node) -> Iterator[Problem]:
    policy = node.spec.get("triggerPolicy", {})
    reads_status = any("taskFinalStatus" in given for given in node.parameters.values())
    after_handler = any(name.startswith("exit-handler-") for name in node.spec.get("dependentTasks", []))
    ends = policy.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED" and (reads_status or after_handler)
    if ends and node.spec.get("cachingOptions", {}).get("enableCache"):
        yield Problem(
            "cached-exit",
            "the exit task may be served from the cache, and then it does nothing at the end of the run",
            "call set_caching_options(False) on it",
        )


def large_constants(node: Node) -> Iterator[Problem]:
    if any(len(text) > LARGEST for text in node.constants()):
        yield Problem(
            "large-constant",
            f"an argument has more than {LARGEST:,} characters; one command line argument ends at about 128 KiB",
            "write it to a file and pass an artifact or its address",
        )


def executors(node: Node) -> Iterator[Problem]:
    container = node.executor.get("container")
    if container is None:
        return
    command = " ".join(map(str, container.get("command", [])))
    if "kfp.dsl.executor_main" not in command:
        yield Problem(
            "container-component",
            "it is not a lightweight Python component, and the local runner runs no other",
            "write it as a @dsl.component whose body imports the code",
        )
    if re.search(r"-m pip\b.* install ", command):
        yield Problem(
            "install-at-run-time",
            "it installs packages when it runs: into this environment on this machine, from the network on a server",
            "put the packages into the image; packages_to_install=[] and install_kfp_package=False",
        )
    if "python" not in container.get("image", ""):
        yield Problem(
            "image-name",
            f"kfp.local takes an image without 'python' in its name for another language: {container.get('image')!r}",
            "put 'python' into the name of the image",
        )


def graph_inputs(scope: Scope) -> Iterator[Problem]:
    if scope.is_group:
        return
    for name, spec in scope.component.get("inputDefinitions", {}).get("parameters", {}).items():
        if spec.get("isOptional") and "defaultValue" not in spec:
            yield Problem(
                "optional-parameter",
                f"the parameter {name!r} may be None; kfp.local stops with 'unknown value type'",
                "use a default that says 'not given', such as '' or -1",
            )
        if "{{$" in str(spec.get("defaultValue", "")):
            yield Problem(
                "placeholder-in-default",
                f"the default of {name!r} contains '{{{{$', which is replaced on its way to the step",
                "encode the value",
            )


def graph_outputs(scope: Scope) -> Iterator[Problem]:
    outputs = scope.component["dag"].get("outputs", {})
    for name, given in outputs.get("artifacts", {}).items():
        selectors = given.get("artifactSelectors", [])
        if len(selectors) > 1:
            yield Problem(
                "one-of-artifacts",
                "dsl.OneOf chooses between artifacts, which kfp.local refuses",
                "let the branches return a parameter, choose with dsl.OneOf, and pick the artifact in a step",
            )
        for selector in selectors:
            if selector["producerSubtask"] not in scope.tasks:
                yield _dangling(f"the task {selector['producerSubtask']!r} for its output {name!r}")
    for name, given in outputs.get("parameters", {}).items():
        chosen = given.get("valueFromOneof", {}).get("parameterSelectors", [given.get("valueFromParameter", {})])
        for selector in chosen:
            if selector.get("producerSubtask") not in scope.tasks:
                yield _dangling(f"the task {selector.get('producerSubtask')!r} for its output {name!r}")


def platform_workspace(platform: Mapping[str, Any]) -> Iterator[Problem]:
    if "workspace" in platform.get("pipelineConfig", {}):
        yield _workspace()


def _references(text: str) -> list[str]:
    return [first or second for first, second in _REFERENCE.findall(text)]


NODE_RULES: tuple[Rule, ...] = (
    condition_on_named_output,
    condition_text,
    loop_over_named_output,
    loop_over_nothing,
    numbers_from_list_parameter,
    dangling_inputs,
    dangling_outputs,
    placeholders,
    importers,
    nested_pipeline_of_artifacts,
    cached_exit,
    large_constants,
    executors,
)
SCOPE_RULES: tuple[Callable[[Scope], Iterator[Problem]], ...] = (graph_inputs, graph_outputs)

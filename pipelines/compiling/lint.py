"""Look at a compiled pipeline before it runs anywhere, and refuse what would go wrong on this machine or on a server.

KFP compiles all of these constructs without a word; some fail in the middle of a run, and the worst take the wrong
branch and report success.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.compiling import lint_rules
from pipelines.compiling.lint_graph import Node, Scope, walk
from pipelines.compiling.lint_rules import Problem
from pipelines.compiling.lint_source import Source
from serving.errors import ConfigError


@dataclass(frozen=True)
class Finding:
    """One refused construct: ``task`` is its path in the compiled pipeline, ``line`` that of the source, if found."""

    rule: str
    task: str
    line: int | None
    problem: str
    remedy: str

    def sentence(self, file: str = "pipeline") -> str:
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {self.task}: {self.problem}; {self.remedy} [{self.rule}]"


def lint(documents: Sequence[Mapping[str, Any]], source: str = "") -> tuple[Finding, ...]:
    """Every finding in the YAML *documents* of a compiled pipeline, in order of the graph.

    Args:
        documents: the pipeline, and if there is one the settings for Kubernetes, as the compiler writes them.
        source: text of the module that defines the pipeline, to name lines; only read, never run.
    """
    ir = documents[0]
    platform = documents[1].get("platforms", {}).get("kubernetes", {}) if len(documents) > 1 else {}
    parts = list(walk(ir))
    text = Source(source)
    names: dict[str, list[str]] = {}
    for part in parts:
        if isinstance(part, Node):
            names.setdefault(part.scope.pipeline, []).append(part.name)
    root = ir["pipelineInfo"]["name"]
    found = [_finding(p, root, text.line_of_pipeline(root)) for p in lint_rules.platform_workspace(platform)]
    for part in parts:
        if isinstance(part, Scope):
            task = "/".join([root, *part.groups])
            line = text.line_of_pipeline(part.pipeline)
        else:
            task = "/".join([root, *part.scope.groups, part.name])
            line = text.line_of_task(part.scope.pipeline, part.name, names[part.scope.pipeline])
        found += [_finding(problem, task, line) for problem in _problems(part, platform)]
    return tuple(dict.fromkeys(found))


def require_clean(documents: Sequence[Mapping[str, Any]], source: str = "", file: str = "pipeline") -> None:
    """Raise a ``ConfigError`` that lists all findings, one a line, if there are any."""
    findings = lint(documents, source)
    if findings:
        raise ConfigError("\n".join(finding.sentence(file) for finding in findings))


def _problems(part: Scope | Node, platform: Mapping[str, Any]) -> Iterator[Problem]:
    if isinstance(part, Scope):
        for scope_rule in lint_rules.SCOPE_RULES:
            yield from scope_rule(part)
        return
    for rule in lint_rules.NODE_RULES:
        yield from rule(part)
    yield from lint_rules.platform_environment(part, platform)


def _finding(problem: Problem, task: str, line: int | None) -> Finding:
    return Finding(problem.rule, task, line, problem.problem, problem.remedy)

"""Where in a source file a compiled task was written: the compiler keeps its name and not its line."""

import ast
import re
from collections.abc import Iterator, Sequence

_CALLS = {
    "condition-branches": ("If", "Condition"),
    "condition": ("If", "Condition", "Elif", "Else"),
    "for-loop": ("ParallelFor",),
    "exit-handler": ("ExitHandler",),
}
_NUMBERED = re.compile(r"(.+?)(?:-(\d+))?$")


class Source:
    """The text of the module that defines the pipelines; an unreadable or empty one knows no lines."""

    def __init__(self, text: str) -> None:
        try:
            tree = ast.parse(text)
        except SyntaxError:
            tree = ast.parse("")
        self._functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]

    def line_of_pipeline(self, pipeline: str) -> int | None:
        function = self._pipeline(pipeline)
        return function.lineno if function else None

    def line_of_task(self, pipeline: str, task: str, tasks: Sequence[str]) -> int | None:
        """The line that makes *task*; *tasks* are all names of its pipeline, which tell the how-manieth it is."""
        function = self._pipeline(pipeline)
        if function is None:
            return None
        match = _NUMBERED.match(task)
        base, number = (match.group(1), match.group(2)) if match else (task, None)
        if base in _CALLS:
            same = sorted(int(name.rsplit("-", 1)[1]) for name in set(tasks) if re.fullmatch(rf"{base}-\d+", name))
            return _nth(_lines(function, _CALLS[base]), same.index(int(number or 0)))
        exact = _lines(function, (task.replace("-", "_"),))  # a step whose own name ends in a number
        return _nth(exact, 0) or _nth(_lines(function, (base.replace("-", "_"),)), int(number or 1) - 1)

    def _pipeline(self, name: str) -> ast.FunctionDef | None:
        found = [function for function in self._functions if name in _pipeline_names(function)]
        return found[0] if found else None


def _pipeline_names(function: ast.FunctionDef) -> set[str]:
    """The names under which the compiler may know *function*: its own and the one in its decorator, if it has one."""
    names: set[str] = set()
    for decorator in function.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _last_name(call) == "pipeline":
            names.add(function.name.replace("_", "-"))
            keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
            names |= {str(k.value.value) for k in keywords if k.arg == "name" and isinstance(k.value, ast.Constant)}
    return names


def _lines(function: ast.FunctionDef, names: Sequence[str]) -> list[int]:
    return sorted(call.lineno for call in _calls(function) if _last_name(call.func) in names)


def _calls(function: ast.FunctionDef) -> Iterator[ast.Call]:
    return (node for node in ast.walk(function) if isinstance(node, ast.Call))


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _nth(lines: Sequence[int], index: int) -> int | None:
    return lines[index] if 0 <= index < len(lines) else None

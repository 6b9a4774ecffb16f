"""Changes of single keys in the text of a YAML file; every other character stays, comments too."""

from collections.abc import Sequence
from typing import Any

import yaml

from components.drafting.text import flow, scalar

Path = Sequence[str]


def edited(text: str, path: Path, value: Any) -> str:
    """*text* with *value* at *path*, which may be new in the mapping above it.

    Raises:
        KeyError: there is no such mapping above.
    """
    above = _mapping(text, path[:-1])
    for key, item in above.value:
        if key.value == path[-1]:  # a list in lines of its own becomes one in the line of its key
            return f"{text[: key.end_mark.index]}: {flow(value)}{text[_end(item) :]}"
    line = f"{scalar(path[-1])}: {flow(value)}"
    if not above.value:  # {} is the only mapping of none
        return text[: above.start_mark.index] + "{" + line + "}" + text[above.end_mark.index :]
    last = _end(above.value[-1][1])
    if above.flow_style:
        return f"{text[:last]}, {line}{text[last:]}"
    place = _line_end(text, last)
    indent = " " * above.value[0][0].start_mark.column
    return f"{text[:place]}\n{indent}{line}{text[place:]}"


def removed(text: str, path: Path) -> str:
    """*text* with the key at *path* commented out; in a mapping within one line it is taken out."""
    above = _mapping(text, path[:-1])
    place = next(n for n, (key, _) in enumerate(above.value) if key.value == path[-1])
    key, item = above.value[place]
    start, end = key.start_mark.index, _end(item)
    if above.flow_style:
        if place + 1 < len(above.value):
            return text[:start] + text[above.value[place + 1][0].start_mark.index :]
        before = _end(above.value[place - 1][1]) if place else start
        return text[:before] + text[end:]
    column = key.start_mark.column
    lines = text[start - column : _line_end(text, end)].split("\n")
    return text[: start - column] + "\n".join(_out(line, column) for line in lines) + text[_line_end(text, end) :]


def _out(line: str, column: int) -> str:
    return f"{line[:column]}# {line[column:]}" if line.strip() else line


def _mapping(text: str, path: Path) -> Any:
    node: Any = yaml.compose(text, yaml.SafeLoader)
    for word in path:
        node = next((item for key, item in node.value if key.value == word), None)
        if node is None:
            raise KeyError(".".join(path))
    return node


def _end(node: Any) -> int:
    """Where *node* ends; a block ends with its last item, and not where the next one begins."""
    while not isinstance(node, yaml.ScalarNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _line_end(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found

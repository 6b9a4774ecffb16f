"""The file of a project: which one a command means, its YAML, and the name in it.

Apart from ``project.py``, because who only needs the name shall not pay for the libraries that check the rest, and a
rollout can be ended while somebody is editing the file.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from serving.errors import ConfigError
from serving.files import write_text

NAME = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"  # a Kubernetes label, short enough for the suffixes that are added
FILE = "project.yaml"
_LAST = "project"
_DIGITS = 1_000  # Python refuses to count with a few thousand, and no key of ours takes twenty


def find(named: Path | None, home: Path) -> Path:
    """*named*, else ``./project.yaml``, else the project of the last run in *home*.

    Raises:
        ConfigError: there is none of them.
    """
    if named is not None:
        return named
    if (here := Path(FILE)).exists():
        return here
    last = home / _LAST
    if last.exists():
        return Path(last.read_text(encoding="utf-8").strip())
    raise ConfigError(
        f"which project? expected --project FILE, a {FILE} in this directory, or an earlier run in {home}; found none"
    )


def remember(path: Path, home: Path) -> None:
    """Make *path* the project of the last run in *home*."""
    write_text(home / _LAST, f"{path.absolute()}\n")


class _Core(yaml.SafeLoader):
    """YAML 1.2's core schema: ``1e-2`` is a number; ``no``, ``1_000`` and dates are text; ``<<`` still merges."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # the parent's is built by add_implicit_resolver


for _tag, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Core.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _whole(loader: _Core, node: yaml.ScalarNode) -> int | float:
    """YAML 1.1 takes a leading zero for base eight; the core schema has ``0o`` for that."""
    word = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(word[:2], 10)
    return int(word, base) if base != 10 or len(word) < _DIGITS else math.copysign(math.inf, float(word))


_Core.add_constructor("tag:yaml.org,2002:int", _whole)


def _keys(node: yaml.Node | None, where: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[str, int, Any]]:
    """Of each key and item as typed, ``gates[2].metric``: its line, and what makes it the same as another."""
    if node is None:
        return
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem=f"{where} contains itself", problem_mark=node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield f"{where}[{place}]", item.start_mark.line + 1, (where, id(node), place)
            yield from _keys(item, f"{where}[{place}]", (*above, id(node)))
    if isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            full = f"{where}.{key.value}".removeprefix(".")
            yield full, key.start_mark.line + 1, (where, id(node), key.tag, str(key.value))
            yield from _keys(item, full, (*above, id(node)))


def _doubled(node: yaml.Node | None) -> Iterator[tuple[str, str]]:
    """Each key that stands twice in one mapping, and the sentence about its lines."""
    lines: dict[Any, int] = {}
    for key, line, same in _keys(node):
        if same in lines:
            yield key, f"{line}: {key}: stands in line {lines[same]} already; keep one of them"
        lines.setdefault(same, line)


def placed(text: str, where: str, sentences: Iterable[str]) -> list[str]:
    """*sentences* that begin with a key, each behind *where* and the line of as much of its key as stands in *text*."""
    lines = {key: line for key, line, _same in _keys(yaml.compose(text, _Core))}
    told = []
    for sentence in sentences:
        known = [key for key in lines if re.match(rf"{re.escape(key)}[:.\[ ]", sentence)]
        told.append(f"{where}:{lines[max(known, key=len)]}: {sentence}" if known else f"{where}: {sentence}")
    return told


def read(path: Path) -> Any:
    """What *path* says as YAML.

    Raises:
        ConfigError: the file is missing, unreadable or no YAML, or a key stands twice.
    """
    return value_of(text_of(path), str(path))


def value_of(text: str, where: str) -> Any:
    """What *text* says as YAML; *where* it stands is told with what is wrong.

    Raises:
        ConfigError: it is no YAML, or a key stands twice.
    """
    value, doubled = _parsed(text, where)
    if doubled:
        raise ConfigError("; ".join(f"{where}:{sentence}" for _key, sentence in doubled))
    return value


def text_of(path: Path) -> str:
    """The text in *path*.

    Raises:
        ConfigError: the file is missing or unreadable.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"no project file {path}; name one with --project") from error
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read project file {path}: {error}") from error


def name(path: Path) -> str:
    """The model's name in *path*; nothing else of it is looked at, so it may be half edited.

    Raises:
        ConfigError: the file cannot be read, or there is no one name that a model can have.
    """
    value, doubled = _parsed(text_of(path), str(path))
    if twice := [sentence for key, sentence in doubled if key == "name"]:
        raise ConfigError(f"{path}:{twice[0]}")
    found = value.get("name") if isinstance(value, Mapping) else None
    return checked_name(found, f"{path}: name")


def checked_name(found: Any, where: str) -> str:
    """*found*, which stands *where* it is told, as the name of a model.

    Raises:
        ConfigError: no model can have it.
    """
    if not isinstance(found, str) or re.fullmatch(NAME, found) is None:
        raise ConfigError(f"{where}: expected lower-case letters, digits and dashes, at most 40, got {found!r}")
    return found


def _parsed(text: str, where: str) -> tuple[Any, list[tuple[str, str]]]:
    """What *text* says, the last of equal keys winning, and the keys that stand twice."""
    try:
        return yaml.load(text, _Core), list(_doubled(yaml.compose(text, _Core)))  # noqa: S506  # a SafeLoader with fewer types
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())}") from error

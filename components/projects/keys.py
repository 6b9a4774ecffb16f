"""What each key of a project means, said once: in the docstrings of the models that read it."""

import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from components.projects import project_file
from serving.durations import parse, seconds, text
from serving.frozen import MOST

EXAMPLES = Path(__file__).with_name("examples.yaml")
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")
_NAMED = {"columns": "COLUMN", "space": "PARAMETER", "transforms": "COLUMN", "encode": "COLUMN", "alarm": "METRIC"}
_BASIC = {str: "text", float: "number", int: "whole number", bool: "true or false", timedelta: "length of time"}
_TIMES = (parse, seconds)  # what reads a length of time


@dataclass(frozen=True)
class ProjectKey:
    """One key as it is typed, ``contract.columns.COLUMN.range``.

    Attributes:
        kind: what may stand there, in words.
        default: what holds where it is left out, as YAML; empty where it cannot be.
        example: a value from a project that is read by tests, as YAML; empty for a section.
        section: whether keys of its own stand below it.
    """

    path: str
    kind: str
    default: str
    meaning: str
    example: str
    section: bool

    @property
    def leaf(self) -> str:
        """The last word of the path."""
        return self.path.rpartition(".")[2].removesuffix("[]")

    @property
    def told(self) -> str:
        """Kind and default in brackets."""
        return f"{self.kind}; needed" if not self.default else f"{self.kind}; by default {self.default}"

    def under(self, above: str) -> bool:
        """Whether it is the key *above*, or below that."""
        words = above.rstrip(".")
        return not words or self.path == words or self.path.startswith((f"{words}.", f"{words}["))


def keys(model: type[BaseModel], prefix: str = "", *, example: bool = True) -> Iterator[ProjectKey]:
    """Every key of *model* and of the models in it, in their order."""
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}" if prefix else name
        inner, how = model_in(field.annotation)
        below = path + {"list": "[]", "mapping": f".{_NAMED.get(name, 'NAME')}", "": ""}[how]
        shown = _examples().get(path, "") if example and inner is None else ""
        kind = {"list": "a list of", "mapping": f"a mapping from {_NAMED.get(name, 'NAME')} to", "": ""}[how]
        told = f"{kind} keys below".strip() if inner else kind_of(field)
        yield ProjectKey(path, told, _default(field), meanings(model).get(name, ""), shown, inner is not None)
        if inner is not None:
            yield from keys(inner, below, example=example)


@cache
def meanings(model: type[BaseModel]) -> Mapping[str, str]:
    """What the docstrings of *model* and of those that it is made of say of each field, under ``Attributes``."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one.__doc__:
            found |= _attributes(inspect.cleandoc(one.__doc__))
    return {name: found[name] for name in model.model_fields if name in found}


def _attributes(doc: str) -> dict[str, str]:
    """The entries below ``Attributes:``, each of one or of several names, on one line or more."""
    block = re.split(r"^Attributes:\n", doc, maxsplit=1, flags=re.M)
    if len(block) < 2:
        return {}
    found, names = dict[str, str](), tuple[str, ...]()
    for line in block[1].splitlines():
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     ") and (entry := _ENTRY.match(line.strip())):
            names = tuple(entry[1].split(", "))
            found |= dict.fromkeys(names, entry[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: words.replace("``", "`") for name, words in found.items()}


def model_in(annotation: Any) -> tuple[type[BaseModel] | None, Literal["", "list", "mapping"]]:
    """The model that *annotation* holds, and whether in a list or a mapping of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is None:
        return None, ""
    if origin is dict:
        return model_in(inside[1])[0], "mapping"
    found = next((one for part in inside if (one := model_in(part))[0] is not None), (None, ""))
    if origin is tuple:
        return found[0], "list" if found[0] else ""
    return found[0], found[1]  # type: ignore[return-value]  # the empty pair has the type of the others


def kind_of(field: FieldInfo) -> str:
    """What may stand at *field*, in words: ``number, 0 to 1``."""
    bounds = {type(one).__name__: one for one in _metadata(field.annotation, field.metadata)}
    if any(getattr(one, "func", None) in _TIMES for one in _metadata(field.annotation, field.metadata)):
        return "length of time"
    low = next((f"{word}{getattr(bounds[k], a):g}" for k, a, word in _LOWS if k in bounds), "")
    highs = ((getattr(bounds[k], a), word) for k, a, word in _HIGHS if k in bounds)
    high = next((f"{word}{most:g}" for most, word in highs if most < MOST), "")
    within = " and ".join(filter(None, (low, high)))
    return ", ".join(filter(None, (_kind(field.annotation), within)))


_LOWS = (("Ge", "ge", "at least "), ("Gt", "gt", "above "))
_HIGHS = (("Le", "le", "at most "), ("Lt", "lt", "below "))


def _metadata(annotation: Any, own: Iterable[Any]) -> list[Any]:
    """What pydantic is told of a field beside its type, also where ``None`` may stand instead."""
    found = list(own)
    for one in (annotation, *get_args(annotation)):
        if get_origin(one) is Annotated:
            for told in one.__metadata__:
                found += told.metadata if isinstance(told, FieldInfo) else [told]
    return found


def _kind(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inside[0])
    if annotation in _BASIC:
        return _BASIC[annotation]
    if origin is Literal:
        return "one of " + ", ".join(map(str, inside))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in inside if one is not type(None)))
    if origin is tuple:
        return f"list of {_kind(inside[0])}" if Ellipsis in inside else f"[{', '.join(map(_kind, inside))}]"
    if origin is dict:
        return f"mapping from {_kind(inside[0])} to {_kind(inside[1])}"
    return _kind(inside[0]) if inside else "any value"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if kind_of(field) == "length of time" and isinstance(value, float):
        value = timedelta(seconds=value)
    return _yaml(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, timedelta):
        return text(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _yaml(value: Any) -> str:
    word = yaml.safe_dump(value, default_flow_style=True, width=1 << 30, sort_keys=False).strip()
    return word.removesuffix("\n...").strip()


@cache
def _examples() -> Mapping[str, str]:
    """Of each key the first value that one of the example projects has for it, as YAML."""
    found: dict[str, str] = {}
    for document in EXAMPLES.read_text(encoding="utf-8").split("\n---\n"):
        for path, value in _values(project_file.value_of(document, str(EXAMPLES)), ""):
            found.setdefault(path, _yaml(value))
    return found


def _values(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, Mapping):
        name = _NAMED.get(path.rpartition(".")[2])
        for key, item in value.items():
            yield from _values(item, f"{path}.{name or key}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, f"{path}[]")


_HEAD = "| key | may be | by default | means | for example |\n|---|---|---|---|---|\n"
_PAGE = """# The project file

*What may stand in `project.yaml`, key by key?*

Written by `make keys` from the models that read the file; in a terminal `slipway help project KEY` says the same.
`[]` stands for each item of a list, a word in capitals for a name of your own. Whole projects:
`pipelines/housing/project.yaml`, `pipelines/breast_cancer/project.yaml`.
"""


def page_of(found: Iterable[ProjectKey]) -> str:
    """All of *found* as a page of docs, one table for each section."""
    lines, section = [_PAGE], None
    for key in found:
        first = key.path.partition(".")[0].partition("[")[0]
        if first != section:
            section = first
            lines.append(
                f"\n## {first}\n\n| key | may be | by default | means | for example |\n|---|---|---|---|---|\n"
            )
        cells = (f"`{key.path}`", key.kind, _code(key.default) or "*needed*", key.meaning, _code(key.example))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""

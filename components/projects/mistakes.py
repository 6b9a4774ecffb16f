"""What is wrong with a project, said of its keys as they are typed."""

import difflib
import re
from typing import Any

from pydantic import BaseModel, ValidationError

from components.projects.keys import meanings, model_in


def sentences(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """What is wrong with a value of *model*, each mistake behind its key as typed."""
    return [_sentence(dict(problem), model) for problem in error.errors(include_url=False)]


def _sentence(problem: dict[str, Any], model: type[BaseModel]) -> str:
    key = key_at(problem["loc"])
    kind, seen = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        parent, known = _section(problem["loc"][:-1], model)
        return f"{key}: unknown key{nearest(str(problem['loc'][-1]), known)}; {parent} knows {', '.join(known)}"
    if kind == "missing":
        within = _model_at(problem["loc"][:-1], model)
        meant = meanings(within).get(str(problem["loc"][-1]), "") if within else ""
        return f"{key}: missing, and it has no default" + (f"; it is {meant}".rstrip(".") if meant else "")
    message = re.sub(r"^Value error, |^Assertion failed, ", "", problem["msg"])
    message = re.sub(r"^Input should be", "expected", message).replace("a valid tuple", "a list")
    section = re.sub(r"\[\d+\]$", "", key)
    if message.startswith((f"{section}.", f"{section}:")):  # the section names its key itself, without its place
        return key + message.removeprefix(section)
    told = not isinstance(seen, str | int | float | None) or repr(seen) in message
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(seen, int | float) else ""
    return f"{key}: {message}" + ("" if told else f", got {seen!r}") + quotes


def key_at(location: tuple[Any, ...]) -> str:
    """The place as typed: ``gates[2].metric``."""
    words = ""
    for part in location:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else str(part)
    return words or "project"


def _section(location: tuple[Any, ...], root: type[BaseModel]) -> tuple[str, list[str]]:
    """The section at *location* and the keys it knows."""
    model = _model_at(location, root)
    return key_at(location), sorted(model.model_fields) if model else []


def _model_at(location: tuple[Any, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """The model of the section at *location*, found by walking from *root*."""
    model: type[BaseModel] | None = root
    for part in location:
        if model is None or isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        model = model_in(field.annotation)[0] if field else model
    return model


def nearest(word: str, known: Any) -> str:
    """The one of *known* that *word* is likely to mean, as a question in brackets; empty for none."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

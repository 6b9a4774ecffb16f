"""YAML as people write it: one line a column, flow mappings inside, and every comment where its key stands."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

WIDTH = 120  # of a line with its comment beside it; a longer comment stands above
_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./%+ -]*[A-Za-z0-9_./%+-])?")
_TAKEN = re.compile(r"(?i)null|true|false|yes|no|on|off|y|n|\.?nan|[-+]?\.?inf")


def scalar(value: Any) -> str:
    """*value* as YAML that both its versions read as this very value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else _float(value)
    if isinstance(value, int):
        return str(value)
    word = str(value)
    if _PLAIN.fullmatch(word) and not _TAKEN.fullmatch(word):
        return word
    return str(yaml.safe_dump(word, default_style='"', width=1 << 30, allow_unicode=True)).strip()


def flow(value: Any) -> str:
    """*value* in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def entry(key: str, value: Any, why: str = "", *, indent: int = 0, item: bool = False, out: bool = False) -> list[str]:
    """The lines of one key, or of one *item* of a list, with its comment; what is left *out* is a comment itself."""
    space, mark = " " * indent, "# " if out else ""
    line = f"{space}{mark}" + (f"- {flow(value)}" if item else f"{scalar(key)}: {flow(value)}")
    if not why:
        return [line]
    words = comment(why)
    if len(line) + 2 + len(words) <= WIDTH:
        return [f"{line}  {words}"]
    return [*(f"{space}{part}" for part in wrapped(words, WIDTH - indent)), line]


def section(key: str, why: str = "", *, indent: int = 0) -> list[str]:
    """The line that opens a mapping or a list."""
    space = " " * indent
    return [*(f"{space}{part}" for part in (wrapped(comment(why), WIDTH - indent) if why else ())), f"{space}{key}:"]


def comment(words: str) -> str:
    """*words* as a comment; what comes from data cannot end the line."""
    return "# " + " ".join(re.sub(r"[^\x20-\x7e\u00a0-\u2027\u202a-\ud7ff\uf900-\ufdff]", " ", words).split())


def wrapped(words: str, width: int) -> list[str]:
    """A comment in lines of about *width* characters, each of them a comment."""
    lines, current = list[str](), "#"
    for word in words.removeprefix("# ").split():
        if len(current) + 1 + len(word) > width and current != "#":
            lines.append(current)
            current = "#"
        current += f" {word}"
    return [*lines, current]


def _float(value: float) -> str:
    word = repr(value)
    mantissa, e, exponent = word.partition("e")
    return f"{mantissa if '.' in mantissa or not e else mantissa + '.0'}{e}{exponent}"

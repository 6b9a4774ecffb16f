"""What verbs print: lines that appear as things happen, tables, and one answer."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import click


@dataclass
class Console:
    """Prints one line per happening: for people in columns, or as JSON objects for programs."""

    as_json: bool = False
    started: float = field(default_factory=time.monotonic)

    def line(self, subject: str, text: str, *, seconds: float | None = None, **facts: Any) -> None:
        if self.as_json:
            event = {"subject": subject, "text": text, **({} if seconds is None else {"seconds": seconds}), **facts}
            click.echo(json.dumps(event, default=str))
            return
        took = "" if seconds is None else f"{seconds:.1f} s"
        for number, part in enumerate(_wrapped(text, 84)):
            last = took if number == 0 else ""
            click.echo(f"{subject if number == 0 else '':<18} {part:<84} {last:>8}".rstrip())

    def result(self, value: dict[str, Any], text: str) -> None:
        """The answer of a verb: *value* for programs, *text* for people."""
        click.echo(json.dumps(value, default=str, indent=2) if self.as_json else text)


def console_of(ctx: click.Context) -> Console:
    return Console(as_json=bool(ctx.find_root().obj["json"]))


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]

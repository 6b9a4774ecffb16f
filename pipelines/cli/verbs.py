"""Groups whose verbs are known by name and by one line of help before any of them is imported."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class Verbs(click.Group):
    """Imports a verb when it is called or its own help is asked for.

    Attributes:
        verbs: name to (``module:attribute``, the first sentence of the verb's help), in the order in which they are
            listed.
    """

    def __init__(self, *arguments: Any, verbs: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in self.verbs:
            return None
        module, _, attribute = self.verbs[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        room = formatter.width - 6 - max(map(len, self.verbs))
        lines = [
            (name, click.Command(name, help=line).get_short_help_str(room)) for name, (_, line) in self.verbs.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

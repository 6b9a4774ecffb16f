"""The ``slipway`` command: verbs, their lazy loading, and what becomes of an error."""

import ast
import errno
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from pipelines.cli.session import Session
from serving.errors import PlaceError, SlipwayError

VERBS = (
    *("init", "run", "submit", "compile", "serve", "predict", "score", "models", "rollout", "watch", "loop"),
    *("data", "contract", "ui", "doctor", "clean", "tour", "help"),
)
OF_TABLES = ("init", "data", "contract", "help")

EPILOG = """\b
Exit codes: 0 done, 2 usage, 3 configuration, 4 data, 5 refused by a gate, 6 conflict,
7 this machine, 10 rolled back, 20 paused or waiting, 30 a service does not answer."""


class Verbs(click.Group):
    """Loads a verb's module when the verb is called or its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(_module(cmd_name)), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - each module has its verb
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        room = formatter.width - 6 - max(map(len, VERBS))
        lines = [(verb, click.Command(verb, help=_help(verb)).get_short_help_str(room)) for verb in VERBS]
        with formatter.section("Commands"):
            formatter.write_dl(lines)


def _module(verb: str) -> str:
    if verb == "rollout":
        return "pipelines.cli.rollout.group"
    return f"pipelines.cli.table.{verb}" if verb in OF_TABLES else f"pipelines.cli.{verb}"


def _help(verb: str) -> str | None:
    """The docstring of *verb*, read from its source, since importing all of them takes as long as a verb."""
    file = Path(__file__).parents[2] / f"{_module(verb).replace('.', '/')}.py"
    functions = (node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.FunctionDef))
    return ast.get_docstring(next(function for function in functions if function.name == verb))


@click.group(
    cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--home", metavar="DIR", help="Where runs, models and logs of this machine live (default .slipway).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines for people.")
@click.version_option(package_name="slipway")
@click.pass_context
def slipway(ctx: click.Context, home: str | None, as_json: bool) -> None:
    """From a table of data to a model in production, and back when it fails."""
    ctx.obj = Session(home, as_json)
    ctx.call_on_close(ctx.obj.close)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error of the family ends in one sentence and its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        result: Any = slipway.main(args=words, prog_name="slipway", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("slipway: interrupted", err=True)
        sys.exit(130)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SlipwayError as error:
        if "--json" in words:
            click.echo(json.dumps({"error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}))
        click.echo(f"slipway: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        click.echo("slipway: the disk is full; free some space and run the same command again", err=True)
        sys.exit(PlaceError.exit_code)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()

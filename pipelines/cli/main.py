"""The ``slipway`` command: verbs, their lazy loading, and what becomes of an error."""

import errno
import json
import sys
from importlib import import_module
from typing import Any

import click

from serving.errors import PlaceError, SlipwayError

# verb -> (where its command lives, the first sentence of its help); it is imported only when it is used
VERBS = {
    "run": ("pipelines.cli.run:run", "Take the project's table to a judged, registered and released model."),
    "submit": (
        "pipelines.cli.submit:submit",
        "Run the committed training pipeline on Kubeflow Pipelines, and follow it to its end.",
    ),
    "compile": ("pipelines.cli.compile:compile_", "Compile every pipeline to the YAML beside it."),
    "serve": ("pipelines.cli.serve:serve", "Serve the project's model on 127.0.0.1 until interrupted."),
    "predict": (
        "pipelines.cli.predict:predict",
        "Send ROWS (CSV, parquet or JSON lines; - or nothing for JSON lines on standard input) to the endpoint.",
    ),
    "score": (
        "pipelines.cli.score:score",
        "Score INPUT, a CSV or parquet file or a directory of them, to parquet files in OUTPUT.",
    ),
    "models": ("pipelines.cli.models:models", "Versions and their life: development, staging, production, archived."),
    "rollout": (
        "pipelines.cli.rollout.group:rollout",
        "Move traffic to a new version step by step, by evidence; or set the split by hand.",
    ),
    "watch": (
        "pipelines.cli.watch:watch",
        "Compare the version that serves with its release: errors, inputs, latency.",
    ),
    "loop": (
        "pipelines.cli.loop:loop",
        "Turn an alarm, a schedule or new data into one training run, or say why not.",
    ),
    "data": ("pipelines.cli.data:data", "Look at the project's table before a run does."),
    "ui": ("pipelines.cli.ui:ui", "Show runs, plots and versions in MLflow on 127.0.0.1 until interrupted."),
    "doctor": (
        "pipelines.cli.doctor:doctor",
        "Check this machine, and the cluster if one answers: versions, types, gateway, secrets, rights, services.",
    ),
    "tour": (
        "pipelines.cli.tour:tour",
        "Rows to live traffic; then the market turns, the alarm, the retraining, the canary, back and forward again.",
    ),
}

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
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        room = formatter.width - 6 - max(map(len, VERBS))
        lines = [(name, click.Command(name, help=line).get_short_help_str(room)) for name, (_, line) in VERBS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(lines)


@click.group(
    cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--home", metavar="DIR", help="Where runs, models and logs of this machine live (default .slipway).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines for people.")
@click.version_option(package_name="slipway")
@click.pass_context
def slipway(ctx: click.Context, home: str | None, as_json: bool) -> None:
    """From a table of data to a model in production, and back when it fails."""
    ctx.obj = {"home": home, "json": as_json}


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

"""``slipway compile``: the pipelines as the bytes that run here and on Kubeflow Pipelines."""

from pathlib import Path

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option
from serving.errors import ConflictError


@click.command("compile")
@click.option("--check", is_flag=True, help="Write nothing; fail when a committed file is not current.")
@json_option
@click.pass_context
def compile_(ctx: click.Context, check: bool) -> None:
    """Compile every pipeline to the YAML beside it.

    The bytes are the same on every machine; what a run on this machine would not follow is refused by name.
    """
    from pipelines.compiling.compiling import compile_package, is_current
    from pipelines.compiling.graphs import graphs

    console = console_of(ctx)
    for pipeline, path in graphs().items():
        if check:
            if not is_current(pipeline, path):
                raise ConflictError(f"{path.name} is not what its source compiles to; run `slipway compile` and commit")
            console.line("current", path.name)
        else:
            compile_package(pipeline, path)
            console.line("compiled", str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))

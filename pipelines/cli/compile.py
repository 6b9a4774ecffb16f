"""``slipway compile``: the pipelines as the bytes that run here and on Kubeflow Pipelines."""

from pathlib import Path

import click

from pipelines.cli.options import answer
from pipelines.cli.session import Session
from serving.errors import ConflictError


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a committed file is not current.")
@answer
def compile(session: Session, check: bool) -> None:
    """Compile every pipeline to the YAML beside it.

    The bytes are the same on every machine; what a run on this machine would not follow is refused by name.
    """
    from pipelines.compiling.compiling import compile_package, graphs, is_current

    for pipeline, path in graphs().items():
        if check:
            if not is_current(pipeline, path):
                raise ConflictError(f"{path.name} is not what its source compiles to; run `slipway compile` and commit")
            session.line("current", path.name)
        else:
            compile_package(pipeline, path)
            session.line("compiled", str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))

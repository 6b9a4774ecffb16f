"""``slipway compile``: the pipelines as the bytes that run here and on Kubeflow Pipelines."""

from pathlib import Path

import click

from pipelines.cli.options import answer
from pipelines.cli.session import Session
from serving.errors import ConflictError, UsageError

_FILE: click.ParamType[Path] = click.Path(path_type=Path)


@click.command()
@click.argument("pipeline", type=click.Choice(["train", "score"]), required=False)
@click.option("--check", is_flag=True, help="Write nothing; fail when a committed file is not current.")
@click.option("--image", metavar="REF", help="Write a package for any client of Kubeflow Pipelines, run in this image.")
@click.option("--project", metavar="FILE", type=_FILE, help="What the package trains, or scores with, by default.")
@click.option("--source", metavar="URI", help="The table that the package reads by default.")
@click.option("-o", "--output", metavar="FILE", type=_FILE, help="Write the package here.")
@answer
def compile(
    session: Session,
    pipeline: str | None,
    check: bool,
    image: str | None,
    project: Path | None,
    source: str | None,
    output: Path | None,
) -> None:
    """Compile every pipeline to the YAML beside it, or one with all that a cluster needs, for other clients than ours.

    The bytes are the same on every machine; what a run on this machine would not follow is refused by name. With
    --image, PIPELINE (train or score) goes to ./train.yaml or ./score.yaml: with its image, place, secrets and project.
    """
    from pipelines.compiling.compiling import compile_package, graphs, is_current

    if image is not None:
        if check:
            raise UsageError("--check compares the committed packages, which name no image: leave out one of the two")
        _package(session, pipeline or "train", image, project, source, output)
        return
    if pipeline or project or source or output:
        raise UsageError("a package for other clients needs the image that its steps run in: say --image REF")
    for graph, path in graphs().items():
        if check:
            if not is_current(graph, path):
                raise ConflictError(f"{path.name} is not what its source compiles to; run `slipway compile` and commit")
            session.line("current", path.name)
        else:
            compile_package(graph, path)
            session.line("compiled", str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _package(
    session: Session, pipeline: str, image: str, file: Path | None, source: str | None, output: Path | None
) -> None:
    from components.projects import project as projects
    from pipelines.checkout import PIPELINES
    from pipelines.kubeflow.submitting import package
    from serving.files import write_bytes

    path = output or Path(f"{pipeline}.yaml")
    if path.resolve().parent == PIPELINES:
        raise UsageError(
            f"{path} is where the committed pipelines are, which name no image; choose another with -o FILE"
        )
    project = projects.load(file) if file else None
    write_bytes(path, package(pipeline, image, project, source))
    held = f"with project {project.name}" if project else "without a project"
    session.line("package", f"{path}: {pipeline} in {image}, {held}", output=str(path), pipeline=pipeline, image=image)

"""``slipway ui``: MLflow's pages over the runs of this place."""

import subprocess
import sys

import click

from pipelines.cli.session import Session
from serving.errors import InfrastructureError


@click.command()
@click.option("--port", type=int, default=5000, show_default=True, help="Where the browser finds it.")
@click.pass_obj
def ui(session: Session, port: int) -> None:
    """Show runs, plots and versions in MLflow on 127.0.0.1 until interrupted."""
    from components.steps import mirroring

    place = session.place
    mirroring.settle(mirroring.start(place.model_dump(), always=True), place.root, mirroring.LIMIT_S)
    if missing := mirroring.read(place.root).trouble:  # who opens the pages is told each time
        click.echo(f"slipway: {missing}", err=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", place.tracking, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--workers", "1"]
    session.line("mlflow", f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    arguments = ["env", *(f"{name}={value}" for name, value in environment.items()), *command]
    code = subprocess.call(arguments)  # noqa: S603 - our own arguments, no shell
    if code not in (0, 130, -2):
        raise InfrastructureError(f"mlflow ended with code {code}; is port {port} taken? choose another with --port")

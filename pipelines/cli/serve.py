"""``slipway serve``: the endpoint on this machine, and what keeps it as it should be."""

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pipelines.cli.options import answer, model_option, project_option
from pipelines.cli.session import Session
from serving.errors import UsageError
from serving.wire import predict_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.local.client import RevisionStatus
    from serving.tally import Tally


@click.group(invoke_without_command=True)
@project_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 picks a free one, kept."
)
@click.pass_obj
def serve(session: Session, port: int) -> None:
    """Serve the project's model on 127.0.0.1 until interrupted.

    One KServe server per version, Envoy in front with the split that the ledger or a rollout says. Ended and started
    again it takes over what still runs. `slipway serve status` shows it, `slipway serve stop` ends it.
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        for name in ("project", "port"):
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise UsageError(f"options of serve {ctx.invoked_subcommand} stand behind it; nothing obeys these")
        return
    from pipelines.here.serving import serve_until

    project = session.project
    session.line("serving", f"http://127.0.0.1:{port or '(free port)'}{predict_path(project.name)}", port=port)
    session.line("next", "slipway predict rows.csv, slipway serve status, slipway rollout status")
    serve_until(project, session.place, port, threading.Event())


@serve.command()
@model_option
@answer
def status(session: Session) -> None:
    """Revisions, their state, the split asked for and in force, and latencies."""
    from serving.local import client

    directory = session.directory
    seen = client.status(directory)
    tallies = client.traffic(directory)
    lines = [
        f"endpoint  {seen.address}  ({'supervised' if seen.running else 'no supervisor: slipway serve'})",
        f"split     configured {seen.epoch_configured}, in force {seen.epoch_observed}"
        + (f", {seen.rejected}" * bool(seen.rejected)),
    ]
    for revision in seen.revisions:
        arms = [arms[revision.name] for arms in tallies.values() if revision.name in arms]
        lines.append(f"{_share(revision)}  {_requests(arms)}" + (f"  {revision.reason}" if revision.reason else ""))
    session.result({"status": asdict(seen)}, "\n".join(lines))


@serve.command()
@model_option
@click.pass_obj
def stop(session: Session) -> None:
    """Let callers finish, then end Envoy, the model servers and the supervisor."""
    from serving.local import client

    client.stop(session.directory)
    session.line("stopped", "nothing serves here any more; the ledger is as it was")


def _share(revision: "RevisionStatus") -> str:
    share = "-" if revision.observed is None else f"{revision.observed / 10:g} %"
    return f"{revision.name:<14} {revision.state:<9} {share:>6}"


def _requests(arms: "Sequence[Tally]") -> str:
    """Counts of all epochs; latencies of the one with most requests, since those of different splits are not mixed."""
    requests, more = sum(a.requests for a in arms), sum(a.repeated for a in arms)
    text = f"{requests:,} requests, {sum(a.errors for a in arms)} errors"
    if more:
        text += f" (and {more:,} that are no evidence: their keys had been counted)"
    if not requests:
        return text
    busiest = max(arms, key=lambda tally: tally.requests)
    return text + ", " + " ".join(f"p{q} {busiest.quantile_ms(q / 100)}" for q in (50, 95, 99)) + " ms"

"""``slipway doctor``: what is missing here and on a cluster, and what to do about it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, namespace_option
from pipelines.cli.session import Session
from serving.errors import ConfigError, InfrastructureError

if TYPE_CHECKING:
    from pipelines.deploying.doctor import Finding

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MARK = {"ok": "ok", "fails": "FAILS", "note": "note"}


@click.command()
@click.option("--context", metavar="NAME", envvar="SLIPWAY_CONTEXT", help="The cluster, by its name in the kubeconfig.")
@click.option("--host", metavar="URL", envvar="SLIPWAY_KFP_HOST", help="Kubeflow Pipelines, when not by the cluster.")
@namespace_option
@click.option(
    "--site",
    "values",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Before a deployment: its file.",
)
@answer
def doctor(session: Session, context: str | None, host: str | None, namespace: str, values: Path | None) -> int:
    """Check this machine, and the cluster if one answers: versions, types, gateway, secrets, rights, services.

    With --site it is the file of a site that is checked: whether the cluster has what it names, and takes what would be
    deployed.

    Ends with 30 when something fails; each such line says what to do. Nothing is changed.
    """
    from pipelines.deploying.doctor import machine

    found = _site(context, values) if values else [*machine(session.place), *_cluster(context, host, namespace)]
    for check in found:
        text = check.text
        if not session.as_json:
            text = f"{_MARK[check.state]:<6} {text}" + (f"; {check.remedy}" if check.remedy else "")
        session.line(check.subject, text, state=check.state, remedy=check.remedy)
    failing = sum(check.state == "fails" for check in found)
    session.line("doctor", f"{failing} of {len(found)} checks fail" if failing else f"{len(found)} checks, all well")
    return InfrastructureError.exit_code if failing else 0


def _site(context: str | None, values: Path) -> "list[Finding]":
    """The checks of a site's file."""
    from pipelines.deploying.dist import of_overlay
    from pipelines.deploying.doctor_site import dry_run, findings, overlay_of
    from pipelines.deploying.site import Site
    from serving.cluster.client import open_cluster

    site = Site.read(values.read_text(encoding="utf-8"))
    return list(findings(open_cluster(context), site, list(of_overlay(overlay_of(values))), dry_run(context)))


def _cluster(context: str | None, host: str | None, namespace: str) -> "list[Finding]":
    """The checks of the cluster; one that was named has to answer."""
    from pipelines.deploying.doctor import Finding
    from pipelines.deploying.doctor_cluster import installation
    from pipelines.deploying.installed import installed_or_usual
    from pipelines.deploying.versions import known_versions
    from pipelines.kubeflow.server import connect
    from serving.cluster.client import open_cluster

    try:
        cluster = open_cluster(context)
        health = connect(host, cluster, namespace).health
        at = installed_or_usual(cluster, namespace)
        return installation(cluster, context or "the current context", health, known_versions(), at)
    except (ConfigError, InfrastructureError) as error:
        if context:
            return [Finding("cluster", "fails", str(error), "make kind-up, or another --context")]
        return [Finding("cluster", "note", f"no cluster: only the laptop was checked ({error})")]

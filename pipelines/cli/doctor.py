"""``slipway doctor``: what is missing here and on a cluster, and what to do about it."""

from typing import TYPE_CHECKING

import click

from pipelines.cli.console import console_of
from pipelines.cli.options import json_option, place_of
from serving.errors import ConfigError, InfrastructureError

if TYPE_CHECKING:
    from pipelines.deploying.doctor import ClusterFacts

_MARK = {"ok": "ok", "fails": "FAILS", "note": "note"}


@click.command()
@click.option("--context", metavar="NAME", envvar="SLIPWAY_CONTEXT", help="The cluster, by its name in the kubeconfig.")
@click.option("--host", metavar="URL", envvar="SLIPWAY_KFP_HOST", help="Kubeflow Pipelines, when not by the cluster.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, context: str | None, host: str | None) -> int:
    """Check this machine, and the cluster if one answers: versions, types, gateway, secrets, rights, services.

    Ends with 30 when something fails; each such line says what to do. Nothing is changed.
    """
    from pipelines.deploying import doctor as rules
    from pipelines.deploying import doctor_facts as facts

    console = console_of(ctx)
    cluster, reason = _cluster(context, host)
    found = rules.checks(facts.machine(place_of(ctx)), cluster, facts.known_versions(), reason, wanted=bool(context))
    for check in found:
        text = check.text
        if not console.as_json:
            text = f"{_MARK[check.state]:<6} {text}" + (f"; {check.remedy}" if check.remedy else "")
        console.line(check.subject, text, state=check.state, remedy=check.remedy)
    failing = sum(check.state == "fails" for check in found)
    console.line("doctor", f"{failing} of {len(found)} checks fail" if failing else f"{len(found)} checks, all well")
    return rules.exit_code(found)


def _cluster(context: str | None, host: str | None) -> "tuple[ClusterFacts | None, str]":
    from pipelines.deploying.doctor_facts import installation
    from pipelines.kubeflow.server import connect
    from serving.cluster.client import open_cluster

    try:
        cluster = open_cluster(context)
        return installation(cluster, context or "the current context", connect(host, cluster).health), ""
    except (ConfigError, InfrastructureError) as error:
        return None, str(error)

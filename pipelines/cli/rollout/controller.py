"""``slipway rollout controller``: what looks after traffic in a cluster."""

import logging
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import click

from pipelines.cli.session import Session
from serving.errors import InfrastructureError

T = TypeVar("T")
AGAIN_S = 2.0


@click.command()
@click.option("--namespace", help="Where the models are; by default the one that SLIPWAY_SERVING names.")
@click.option("--health", default=":8080", metavar="HOST:PORT", show_default=True, help="Probes and metrics.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 10), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option("--context", help="Of the kubeconfig, when it runs outside of the cluster.")
@click.pass_obj
def controller(session: Session, namespace: str | None, health: str, interval: float, context: str | None) -> None:
    """Look after all models of a namespace until it is ended: slots and rollouts of the ledger become traffic.

    SIGTERM gives the leases back, so that the next one goes on at once; traffic stays as it is.
    """
    from components.steps.mirroring import follow
    from serving.cluster.choice import backends_of
    from serving.cluster.client import open_cluster
    from serving.cluster.control import ClusterControl
    from serving.cluster.http import answering
    from serving.cluster.service import cluster_address
    from serving.ledger.ledger import open_ledger
    from serving.rollout.controller.notices import Notices
    from serving.rollout.controller.tables import open_rollouts

    place = session.place
    where = cluster_address(place.serving)
    where = replace(where, namespace=namespace or where.namespace)
    _log_to_stdout()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    cluster = open_cluster(context)
    way, backend_of = _once_it_answers(lambda: backends_of(cluster, where), stopping)
    engine = _once_it_answers(lambda: open_rollouts(place.ledger), stopping)
    ledger = open_ledger(place.ledger, place=f"kserve://{where.namespace}")
    place.root.mkdir(parents=True, exist_ok=True)
    follow(place.model_dump(), open_ledger(place.ledger).head, stopping)
    notices = Notices(place.root / "notices.jsonl", place.rollout_webhook)
    control = ClusterControl(where.namespace, ledger, engine, backend_of, cluster.server_version, notices, cluster)
    with answering(control, health) as port:
        logging.getLogger(__name__).info(
            "controller started", extra={"namespace": where.namespace, "way": way, "port": port}
        )
        control.run(stopping, interval)
    notices.close()


def _once_it_answers(action: Callable[[], T], stopping: threading.Event) -> T:
    """What *action* gives; a service that does not answer yet is waited for until *stopping*."""
    while True:
        try:
            return action()
        except InfrastructureError as error:
            logging.getLogger(__name__).warning("it is tried again", extra={"reason": str(error)})
            if stopping.wait(AGAIN_S):
                raise


def _log_to_stdout() -> None:
    from serving.json_lines import JsonLines

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # what it retries in vain is said once, by us

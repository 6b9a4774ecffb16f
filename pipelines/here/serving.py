"""A project's service on this machine: supervisor and controller in one process."""

import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from components.projects.project import Project
from components.steps.keys import trusted_keys
from components.steps.mirroring import follow
from components.steps.place import Place, s3_settings
from serving.files import write_bytes
from serving.ledger.ledger import open_ledger
from serving.local import client
from serving.local.backend import EnvoyBackend
from serving.local.control import local_control, serve_and_decide
from serving.local.extras import SETTLED_S, LogExtras
from serving.local.paths import service_directory
from serving.local.servers import local_bundle, predictor_command
from serving.local.supervisor import ServeOptions
from serving.rollout.backend import Revision
from serving.rollout.controller.notices import Notices
from serving.store.store import open_store


def serve_until(project: Project, place: Place, port: int, stop: threading.Event) -> None:
    """Serve until a signal or *stop*.

    Raises:
        ConflictError: the service is served already.
        PlaceError: the port is taken or Envoy is missing.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    directory = service_directory(place.serving, project.name)
    key = directory / "trusted.pub"
    write_bytes(key, trusted_keys(place.key)[0].pem)
    options = ServeOptions(command=predictor_command(key), port=port, fetch=lambda wanted: fetched(wanted, place))
    quality = project.rollout.gates.quality
    delay = max(SETTLED_S, quality.label_delay if quality is not None else 0.0)
    extras = LogExtras(directory, options.fetch, label_delay=delay)
    backend = EnvoyBackend(directory, extras=extras.read)
    notify = Notices(directory / "notices.jsonl", place.rollout_webhook)
    ledger = open_ledger(place.ledger, keep=True)  # it is read at every look
    control = local_control(directory, project.name, ledger, backend, notify)
    ended = threading.Event()
    follow(place.model_dump(), ledger.head, ended)
    try:
        serve_and_decide(directory, control, backend, options, stop)
    finally:
        ended.set()
        ledger.close()


def fetched(wanted: Revision, place: Place) -> Path:
    """The directory of a revision's bundle, downloaded once when it is not on this machine."""
    if not wanted.bundle_uri.startswith("s3://"):
        return local_bundle(wanted)
    path = place.root / "bundles" / wanted.digest
    if not path.exists():
        open_store(wanted.bundle_uri, s3_settings(place)).download_directory("", path)
    return path


def launch(project_path: Path, place: Place, port: int) -> str:
    """Start ``slipway serve`` in the background and wait until it answers; returns the endpoint's address."""
    from components.projects import project as projects

    directory = service_directory(place.serving, projects.load(project_path).name)
    client.launch(directory, serve_command(project_path, place, port))
    return client.endpoint(directory)


def serve_command(project_path: Path, place: Place, port: int) -> Sequence[str]:
    arguments = ["--home", place.home, "serve", "--project", str(project_path), "--port", str(port)]
    return (sys.executable, "-m", "pipelines.cli.main", *arguments)

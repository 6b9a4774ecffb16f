"""Submit a project to a cluster: what it is run with there, and in which place.

Nothing of this machine goes with it but the project and the name of who submits. The place of the cluster is read from
its ConfigMap, and the image is the one that the rollout controller runs, so that steps and controller are one release.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from components.steps import carried
from components.steps.place import Place
from components.watching.cron import six_fields
from pipelines import settings
from pipelines.compiling.compiling import read_package
from pipelines.here.interpreter import leaves
from pipelines.here.run import LARGEST
from pipelines.here.training import PACKAGE, again, train_arguments
from pipelines.kubeflow import submission
from pipelines.kubeflow.follow import STEPS
from pipelines.kubeflow.server import KfpServer, PipelineVersion
from pipelines.project import Project
from serving.cluster.client import CONFIG_MAP, DEPLOYMENT, Cluster
from serving.durations import text
from serving.errors import ConfigError, InfrastructureError, UsageError
from serving.store.settings import S3Settings

HOME = "slipway-system"
PLACE, CONTROLLER = "slipway-place", "rollout-controller"
CODE_NOTE, COMMIT_NOTE = "slipway.dev/code", "slipway.dev/commit"
PIPELINE = "slipway-train"
# The workflow engine puts its own values here when a scheduled run starts; Pipelines itself would pass these as text.
SCHEDULED_RUN = "{{workflow.name}}"
SCHEDULED_DAY = "{{workflow.creationTimestamp.Y}}-{{workflow.creationTimestamp.m}}-{{workflow.creationTimestamp.d}}"


@dataclass(frozen=True)
class Prepared:
    """What is submitted: the image of steps, the version on the server, the digest and the tasks of the graph."""

    image: str
    version: PipelineVersion
    experiment: str
    graph: str
    tasks: tuple[str, ...]


def place_there(cluster: Cluster, actor: str) -> Place:
    """The place that steps work in on *cluster*.

    Raises:
        InfrastructureError: nothing of ours is deployed there.
    """
    found = cluster.get(CONFIG_MAP, STEPS, PLACE)
    if found is None:
        raise InfrastructureError(f"the cluster has no ConfigMap {STEPS}/{PLACE}; install Slipway there: make deploy")
    return settings.load(environment=found.get("data", {}), actor=actor)


@dataclass(frozen=True)
class Deployed:
    """What runs on a cluster: the image, and the code in it as ``make deploy`` noted it; empty where it did not."""

    image: str
    code: str = ""
    commit: str = ""

    def arguments(self) -> dict[str, str]:
        """Of a run: provenance and caches are about the code in the image, whatever checkout submits it."""
        return {name: value for name, value in (("code", self.code), ("commit", self.commit)) if value}


def deployed(cluster: Cluster) -> Deployed:
    """What the rollout controller of *cluster* runs.

    Raises:
        InfrastructureError: there is no controller.
    """
    found = cluster.get(DEPLOYMENT, HOME, CONTROLLER) or {}
    notes = found.get("metadata", {}).get("annotations", {})
    for container in found.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
        return Deployed(str(container["image"]), notes.get(CODE_NOTE, ""), notes.get(COMMIT_NOTE, ""))
    raise InfrastructureError(
        f"the cluster has no Deployment {HOME}/{CONTROLLER} to take the image from; run make deploy, or give --image"
    )


def check_source(source: str) -> None:
    """Refuse a table that only this machine can read.

    Raises:
        UsageError: it is a path.
    """
    if urlsplit(source).scheme in ("", "file"):
        raise UsageError(
            f"a pod cannot read {source} of this machine: expected a URI such as s3://bucket/table.parquet; copy the "
            "table to the object store of the cluster and name it with --source"
        )


def prepare(server: KfpServer, project: Project, image: str, *, cache: bool = True) -> Prepared:
    """Put the committed pipeline with *image* on the server, and make the project's experiment; both only once."""
    committed = PACKAGE.read_bytes()
    package = submission.prepare(committed, image, cache=cache)
    version = server.ensure_version(PIPELINE, package, submission.version_name(package))
    experiment, graph = server.ensure_experiment(project.name), submission.ir_digest(package)
    return Prepared(image, version, experiment, graph, tuple(leaves(read_package(package)[0])))


def contract_there(contract: str, place: Place, s3: S3Settings | None) -> str:
    """*contract* as a parameter; a wide one by its address in the store of *place*, which *s3* reaches from here."""
    return contract if len(contract) <= LARGEST else carried.put(contract, place.store, s3)


def run_name(now: datetime) -> str:
    """The number of a run: its moment, since there is nobody on a cluster who counts for all who submit."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%S")


def schedule(
    server: KfpServer,
    prepared: Prepared,
    project: Project,
    place: Place,
    *,
    source: str | None,
    window: str,
    code: Mapping[str, str],
    s3: S3Settings | None = None,
) -> tuple[str, bool]:
    """Train by the project's schedule; returns the server's id, and whether anything had to be changed.

    Args:
        window: how far back the training rows reach; empty: what the project says of retraining.
        code: arguments that say which code the image holds.

    Raises:
        ConfigError: the project has no schedule.
    """
    if not project.retrain.schedule:
        raise ConfigError(f"{project.name} has no retrain.schedule; add one such as '0 3 1 * *' to the project")
    own = "" if project.retrain.window is None else text(project.retrain.window)
    arguments = train_arguments(project, place, SCHEDULED_RUN, source=source, window=window or own)
    arguments |= {**code, "as_of": SCHEDULED_DAY, "contract": contract_there(arguments["contract"], place, s3)}
    arguments["command"] = again("submit", project.file, arguments)
    cron = six_fields(project.retrain.schedule)
    return server.schedule(prepared.version, prepared.experiment, project.name, cron, arguments)

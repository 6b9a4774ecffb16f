"""Submit a project to a cluster: what it is run with there, and in which place.

Nothing of this machine goes with it but the project and the name of who submits. The place of the cluster is read from
its ConfigMap, and the image is the one that the rollout controller runs, so that steps and controller are one release.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from components.projects.project import Project
from components.projects.stages import RunNotes
from components.steps import carried
from components.steps.code_digest import code_digest
from components.steps.place import Place
from components.watching.cron import six_fields
from pipelines import settings
from pipelines.checkout import PIPELINES
from pipelines.compiling.compiling import read_package
from pipelines.deploying import image_tag
from pipelines.deploying.installed import Installed
from pipelines.here.interpreter import leaves
from pipelines.here.run import LARGEST, check_arguments
from pipelines.here.training import command_of, commit_here, train_arguments
from pipelines.kubeflow import submission
from pipelines.kubeflow.server import KfpServer, PipelineVersion
from serving.cluster.client import DEPLOYMENT, Cluster
from serving.durations import text
from serving.errors import ConfigError, InfrastructureError, UsageError
from serving.store.settings import S3Settings

CONTROLLER = "rollout-controller"
CODE_NOTE, COMMIT_NOTE = "slipway.dev/code", "slipway.dev/commit"


@dataclass(frozen=True)
class Prepared:
    """What is submitted: the image of steps, the version on the server, the digest and the tasks of the graph."""

    image: str
    version: PipelineVersion
    experiment: str
    graph: str
    tasks: tuple[str, ...]


def place_there(at: Installed, actor: str) -> Place:
    """The place that the steps of the installation *at* work in."""
    return settings.load(environment=at.place, actor=actor)


@dataclass(frozen=True)
class Deployed:
    """What runs on a cluster: the image and the code in it, as ``make deploy`` or this checkout knows it.

    Provenance and caches are about the code in the image, whatever checkout submits it: where nobody knows, the first
    step looks itself.
    """

    image: str
    code: str = ""
    commit: str = ""

    def notes(self, project: Project, run_id: str = "") -> str:
        """The parameter ``notes`` of a training run."""
        command = command_of("submit", project.file)
        return RunNotes(run_id=run_id, code=self.code, commit=self.commit, command=command).model_dump_json()


def in_image(image: str) -> Deployed:
    """What is known of *image*: with the tag of this checkout's, it holds this checkout's code."""
    if not image.endswith(f":{image_tag.tag('pipeline')}"):
        return Deployed(image)
    return Deployed(image, code_digest(), commit_here())


def deployed(cluster: Cluster, at: Installed) -> Deployed:
    """What the rollout controller of the installation *at* runs.

    Raises:
        InfrastructureError: there is no controller.
    """
    found = cluster.get(DEPLOYMENT, at.system, CONTROLLER) or {}
    notes = found.get("metadata", {}).get("annotations", {})
    for container in found.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
        return Deployed(str(container["image"]), notes.get(CODE_NOTE, ""), notes.get(COMMIT_NOTE, ""))
    raise InfrastructureError(
        f"the cluster has no Deployment {at.system}/{CONTROLLER} whose image to take: run make deploy, or give --image"
    )


def check_reach(uri: str, option: str) -> None:
    """Refuse a table of this machine, which no pod reaches; *option* is where another one is named.

    Raises:
        UsageError: it is a path.
    """
    if urlsplit(uri).scheme in ("", "file"):
        raise UsageError(
            f"a pod cannot reach {uri} of this machine: expected a URI such as s3://bucket/table.parquet; copy the "
            f"table to the object store of the cluster and name it with {option}"
        )


def prepare(server: KfpServer, pipeline: str, model: str, image: str, *, cache: bool = True) -> Prepared:
    """Put the committed *pipeline* with *image* on the server, and make the experiment of *model*; both only once."""
    committed = (PIPELINES / f"{pipeline}.yaml").read_bytes()
    package = submission.prepare(committed, image, cache=cache)
    version = server.ensure_version(f"slipway-{pipeline}", package, submission.version_name(package))
    experiment, graph = server.ensure_experiment(model), submission.ir_digest(package)
    return Prepared(image, version, experiment, graph, tuple(leaves(read_package(package)[0])))


def carried_there(arguments: Mapping[str, str], place: Place, s3: S3Settings | None) -> dict[str, str]:
    """*arguments*, a wide project by its address in the store of *place*, which *s3* reaches from here."""
    project = arguments["project"]
    return {**arguments, "project": project if len(project) <= LARGEST else carried.put(project, place.store, s3)}


def package(pipeline: str, image: str, project: Project | None, source: str | None = None) -> bytes:
    """The committed *pipeline* with all that a client of Kubeflow Pipelines would have to know in it as defaults.

    Raises:
        UsageError: the project is too long for a parameter, or no pod reaches its table and there is no *source*.
        ConfigError: *image* may change.
    """
    runs, committed = in_image(image), (PIPELINES / f"{pipeline}.yaml").read_bytes()
    if project is None:
        return submission.prepare(committed, image)
    defaults = {"name": project.name}
    if pipeline == "train":
        check_reach(source or project.source.uri, "--source")
        defaults = {"project": project.model_dump_json(exclude_unset=True), "notes": runs.notes(project)}
        defaults |= {"source": source} if source else {}
    check_arguments(defaults)
    return submission.prepare(committed, image, defaults=defaults)


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
    runs: Deployed,
    s3: S3Settings | None = None,
) -> tuple[str, bool]:
    """Train by the project's schedule; returns the server's id, and whether anything had to be changed.

    Args:
        window: how far back the training rows reach; empty: what the project says of retraining.
        runs: what the image holds.

    Raises:
        ConfigError: the project has no schedule.
    """
    if not project.retrain.schedule:
        raise ConfigError(f"{project.name} has no retrain.schedule; add one such as '0 3 1 * *' to the project")
    own = "" if project.retrain.window is None else text(project.retrain.window)
    asked = carried_there(train_arguments(project, place, source=source, window=window or own), place, s3)
    # Each run is of its own day, and has the number that the server gives.
    arguments = {**asked, "as_of": "", "notes": runs.notes(project)}
    cron = six_fields(project.retrain.schedule)
    return server.schedule(prepared.version, prepared.experiment, project.name, cron, arguments)

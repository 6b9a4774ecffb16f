"""A server of Kubeflow Pipelines: the few calls that a submission needs, each safe to repeat.

Without an address the server is reached through the Kubernetes API, by its proxy to the Service ``ml-pipeline``: no
port has to be forwarded, and a restart of the server is only a failed call.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.deploying.installed import USUAL
from serving.errors import ConfigError, InfrastructureError

if TYPE_CHECKING:
    from serving.cluster.client import KubernetesCluster

ACCOUNT = "pipeline-runner"
PAGE = 100
TIMEOUT_S = (3.05, 30.0)  # to connect, and between two pieces of an answer

Phase = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"]
SERVICE_PROXY = "/api/v1/namespaces/{namespace}/services/ml-pipeline:http/proxy"
# What the client of Kubernetes and that of Pipelines, generated alike, both need to know about an API server.
_ACCESS = (
    *("ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "assert_hostname", "proxy"),
    *("api_key", "api_key_prefix", "refresh_api_key_hook", "username", "password"),
)
_PHASES: Mapping[str, Phase] = {
    "RUNNING": "RUNNING",
    "CANCELING": "RUNNING",
    "PAUSED": "RUNNING",
    "SUCCEEDED": "SUCCEEDED",
    "SKIPPED": "SUCCEEDED",
    "FAILED": "FAILED",
    "CANCELED": "CANCELED",
}


@dataclass(frozen=True)
class PipelineVersion:
    """A pipeline's version on the server; *uploaded* is False when the same bytes were there already."""

    pipeline_id: str
    version_id: str
    name: str
    uploaded: bool


class KfpServer:
    """Calls to one server; ``connect`` makes it.

    Args:
        api: a ``kfp_server_api.ApiClient``.

    Every call raises ``ConfigError`` when the server refuses what it is given, and ``InfrastructureError`` when it does
    not answer or cannot do it.
    """

    def __init__(self, api: Any) -> None:
        import kfp_server_api as sdk  # type: ignore[import-untyped]  # generated, without types

        self._sdk = sdk
        self._health = sdk.HealthzServiceApi(api)
        self._pipelines = sdk.PipelineServiceApi(api)
        self._uploads = sdk.PipelineUploadServiceApi(api)
        self._experiments = sdk.ExperimentServiceApi(api)
        self._runs = sdk.RunServiceApi(api)
        self._schedules = sdk.RecurringRunServiceApi(api)

    def health(self) -> None:
        """Raise unless the server answers."""
        _call("its health", self._health.healthz_service_get_healthz)

    def ensure_version(self, pipeline: str, package: bytes, name: str) -> PipelineVersion:
        """The version *name* of *pipeline*, uploaded unless it is there."""
        found = self._named("pipelines", self._pipelines.pipeline_service_list_pipelines, "pipelines", pipeline)
        pipeline_id = found[0].pipeline_id if found else None
        if pipeline_id:
            listing = self._pipelines.pipeline_service_list_pipeline_versions
            versions = self._named("versions", listing, "pipeline_versions", name, pipeline_id=pipeline_id)
            if versions:
                return PipelineVersion(pipeline_id, versions[0].pipeline_version_id, name, uploaded=False)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "package.yaml"
            file.write_bytes(package)
            if not pipeline_id:
                # This makes a version of the pipeline's own name as well; the one of our name is uploaded beside it.
                made = _call("upload", self._uploads.upload_pipeline, str(file), name=pipeline)
                pipeline_id = made.pipeline_id
            made = _call("upload", self._uploads.upload_pipeline_version, str(file), name=name, pipelineid=pipeline_id)
        return PipelineVersion(pipeline_id, made.pipeline_version_id, name, uploaded=True)

    def ensure_experiment(self, name: str) -> str:
        """The id of the experiment *name*, made unless it is there."""
        listing = self._experiments.experiment_service_list_experiments
        if found := self._named("experiments", listing, "experiments", name):
            return str(found[0].experiment_id)
        body = self._sdk.V2beta1Experiment(display_name=name)
        return str(_call("experiment", self._experiments.experiment_service_create_experiment, body).experiment_id)

    def create_run(self, version: PipelineVersion, experiment: str, name: str, arguments: Mapping[str, Any]) -> str:
        """Start a run; returns its id."""
        body = self._sdk.V2beta1Run(
            display_name=name, experiment_id=experiment, service_account=ACCOUNT, **self._source(version, arguments)
        )
        return str(_call("run", self._runs.run_service_create_run, body).run_id)

    def run(self, run_id: str) -> tuple[Phase, list[Any]]:
        """The phase of a run, and its nodes (``V2beta1PipelineTaskDetail``)."""
        found = _call("run", self._runs.run_service_get_run, run_id)
        return _PHASES.get(str(found.state), "PENDING"), (found.run_details and found.run_details.task_details) or []

    def schedule(
        self, version: PipelineVersion, experiment: str, name: str, cron: str, arguments: Mapping[str, Any]
    ) -> tuple[str, bool]:
        """Run *version* at *cron* (six fields, UTC); returns the id, and whether anything had to be changed.

        A recurring run of this name that does the same is left alone; one that does something else is replaced.
        """
        found = self._recurring(experiment, name)
        if len(found) == 1 and _recurring_facts(found[0]) == (version.version_id, cron, dict(arguments)):
            return str(found[0].recurring_run_id), False
        body = self._sdk.V2beta1RecurringRun(
            display_name=name,
            experiment_id=experiment,
            service_account=ACCOUNT,
            mode=self._sdk.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,  # a cluster that was off does not train once for every month that it missed
            trigger=self._sdk.V2beta1Trigger(cron_schedule=self._sdk.V2beta1CronSchedule(cron=cron)),
            **self._source(version, arguments),
        )
        made = _call("schedule", self._schedules.recurring_run_service_create_recurring_run, body)
        self._remove(found)
        return str(made.recurring_run_id), True

    def unschedule(self, experiment: str, name: str) -> int:
        """Remove the recurring runs of this name; returns how many there were."""
        found = self._recurring(experiment, name)
        self._remove(found)
        return len(found)

    def _source(self, version: PipelineVersion, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "pipeline_version_reference": self._sdk.V2beta1PipelineVersionReference(
                pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
            ),
            "runtime_config": self._sdk.V2beta1RuntimeConfig(parameters=dict(arguments)),
        }

    def _recurring(self, experiment: str, name: str) -> list[Any]:
        listing = self._schedules.recurring_run_service_list_recurring_runs
        return self._named("schedules", listing, "recurring_runs", name, experiment_id=experiment)

    def _remove(self, schedules: list[Any]) -> None:
        for one in schedules:
            _call("schedule", self._schedules.recurring_run_service_delete_recurring_run, one.recurring_run_id)

    def _named(self, what: str, listing: Callable[..., Any], field: str, name: str, **where: Any) -> list[Any]:
        """All that are called *name*, page by page; the server's filter is asked, and its answer looked through."""
        wanted = json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
        found: list[Any] = []
        token = ""
        while True:
            answer = _call(what, listing, filter=wanted, page_size=PAGE, page_token=token, **where)
            found += [one for one in getattr(answer, field) or () if one.display_name == name]
            if not (token := answer.next_page_token or ""):
                return found


def connect(
    host: str | None = None, cluster: "KubernetesCluster | None" = None, namespace: str = USUAL.runs
) -> KfpServer:
    """The server at *host* (``http://localhost:8888``), else that in *namespace* of *cluster*; it is not asked yet."""
    import kfp_server_api as sdk

    configuration = sdk.Configuration()
    if host:
        configuration.host = host.rstrip("/")
    elif cluster is None:
        raise ConfigError("no server of Kubeflow Pipelines: expected its address or a cluster; use --host or --context")
    else:
        found = cluster.configuration
        for name in _ACCESS:
            setattr(configuration, name, getattr(found, name, None))
        configuration.host = found.host.rstrip("/") + SERVICE_PROXY.format(namespace=namespace)
    return KfpServer(sdk.ApiClient(configuration))


def _call(what: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    import kfp_server_api as sdk
    import urllib3

    try:
        return call(*arguments, **options, _request_timeout=TIMEOUT_S)
    except sdk.ApiException as error:
        if _of_kubernetes(error):
            raise InfrastructureError(
                f"the Kubernetes API does not lead to Kubeflow Pipelines: {_reason(error)}; `slipway doctor` says more"
            ) from error
        sentence = f"Kubeflow Pipelines refuses a request about {what} with {error.status}: {_reason(error)}"
        if error.status in (400, 404, 409, 422):
            raise ConfigError(sentence) from error
        raise InfrastructureError(f"{sentence}; `slipway doctor` looks at the server and the way to it") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = getattr(error, "reason", error)  # of an error about retries, that of the last try
        raise InfrastructureError(
            f"Kubeflow Pipelines does not answer: {reason}; `slipway doctor` looks at the server and the way to it"
        ) from error


def _reason(error: Any) -> str:
    """What the server says, without the chain of its functions."""
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        body = json.loads(error.body)
        return " ".join(str(body.get("message") or body.get("error") or error.reason).split())
    return str(error.reason)


def _of_kubernetes(error: Any) -> bool:
    """Whether the API server before it says so, and not the server of Pipelines."""
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        return bool(json.loads(error.body).get("kind") == "Status")
    return False


def _recurring_facts(found: Any) -> tuple[str, str, dict[str, Any]]:
    reference, trigger = found.pipeline_version_reference, found.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else ""
    parameters = (found.runtime_config and found.runtime_config.parameters) or {}
    return (reference.pipeline_version_id if reference else "", cron, dict(parameters))

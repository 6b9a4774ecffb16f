"""Runs and versions in MLflow, for people to look at; nothing is decided from what is there.

The only module that imports MLflow, and only inside functions: the import takes seconds. A store in an SQLite file is
written by one process at a time, since two that create its tables at once destroy each other's work.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from components.modelling.search.tuning_values import Trial, Tuning
from components.steps.provenance import CodeVersion, Environment
from serving.contract import Frozen
from serving.errors import ConfigError, DataError, InfrastructureError, PlaceError
from serving.locks import file_lock

LONGEST_PARAMETER = 6000  # characters, MLflow's limits; the whole value is in run.json
LONGEST_TAG = 5000
BATCH = 100  # parameters or tags per call, MLflow's limit; metrics may be more
RUN_ID = "slipway.run_id"
RECORDED = "slipway.recorded"


class Data(Frozen):
    """The snapshot a run read, and where its rows came from."""

    snapshot: str
    rows: int
    source: str


class RunRecord(Frozen):
    """Everything worth knowing of one run.

    Attributes:
        run_id: Slipway's own; MLflow gives another, which ``record`` returns.
        project: also the name of the experiment.
        parameters: may be nested; they are shown with dotted names.
        artifacts: folder in the run to the file or directory that is copied there, e.g. ``bundle``, ``plots``.
    """

    run_id: str = Field(pattern=r"^[\w.:+-]+$")
    name: str
    project: str
    parameters: dict[str, Any]
    metrics: dict[str, float]
    artifacts: dict[str, Path]
    code: CodeVersion
    data: Data
    environment: Environment
    started: datetime
    ended: datetime
    tags: dict[str, str] = Field(default_factory=dict)
    tuning: Tuning = Tuning()


def check(uri: str) -> None:
    """Ask the store at *uri* for anything at all, so that a silent one is given up once and not for each record.

    Raises:
        InfrastructureError: it does not answer.
    """
    with store_client(uri) as client:
        client.search_experiments(max_results=1)


def record(run: RunRecord, uri: str) -> str:
    """Write *run* to the MLflow store at *uri*, ``sqlite:///file.db`` or a server's address, and return MLflow's id.

    A run that is there already is left as it is, and one that was only half written is replaced. Artifacts of an SQLite
    store lie in ``artifacts`` beside its file.

    Raises:
        DataError: an artifact does not exist.
        InfrastructureError: the store does not answer.
    """
    for name, path in run.artifacts.items():
        if not path.exists():
            raise DataError(f"artifact {name!r} of run {run.run_id} is not at {path}; the run is not recorded")
    with store_client(uri) as client:
        experiment = _experiment(client, run.project, uri)
        for found in runs_of(client, [experiment], run.run_id):
            if found.data.tags.get(RECORDED) == "true":
                return str(found.info.run_id)
            _discard(client, experiment, found.info.run_id)
        made = client.create_run(experiment, start_time=_ms(run.started), run_name=run.name, tags=_tags(run))
        run_id = str(made.info.run_id)
        _log(client, run_id, run.parameters, run.metrics, run.ended)
        _log_data(client, run_id, run)
        _log_artifacts(client, run_id, run)
        for trial in run.tuning.trials:
            _log_trial(client, experiment, run_id, run, trial)
        client.set_terminated(run_id, "FINISHED", end_time=_ms(run.ended))
        client.set_tag(run_id, RECORDED, "true")
        return run_id


def _tags(run: RunRecord) -> dict[str, str]:
    tags = {
        RUN_ID: run.run_id,
        "slipway.project": run.project,
        "mlflow.source.name": run.project,
        "mlflow.source.git.commit": run.code.commit,
        "code.git_commit": run.code.commit,
        "code.git_dirty": "unknown" if run.code.dirty is None else str(run.code.dirty).lower(),
        "environment.python": run.environment.python,
        "environment.lock_sha256": run.environment.lock,
        "time.started": run.started.isoformat(),
        "time.ended": run.ended.isoformat(),
    }
    tags |= {f"environment.library.{name}": version for name, version in run.environment.libraries.items()}
    tags |= {f"data.{name}": str(value) for name, value in run.data.model_dump().items()}
    return {_key(key): value[:LONGEST_TAG] for key, value in (run.tags | tags).items()}


def _log(client: Any, run_id: str, parameters: Mapping[str, Any], metrics: Mapping[str, float], at: datetime) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(_key(name), value[:LONGEST_PARAMETER]) for name, value in _flat(parameters).items()]
    values = [Metric(_key(name), float(value), _ms(at), 0) for name, value in metrics.items()]
    for start in range(0, max(len(params), len(values)), BATCH):
        chunk = slice(start, start + BATCH)
        client.log_batch(run_id, metrics=values[chunk], params=params[chunk])


def _log_data(client: Any, run_id: str, run: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=run.project,
        digest=run.data.snapshot[:36],  # MLflow's limit; the whole id is a tag
        source_type="slipway",
        source=json.dumps({"uri": run.data.source, "snapshot": run.data.snapshot}),
        profile=json.dumps({"num_rows": run.data.rows}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_artifacts(client: Any, run_id: str, run: RunRecord) -> None:
    for name, path in run.artifacts.items():
        (client.log_artifacts if path.is_dir() else client.log_artifact)(run_id, str(path), name)
    client.log_dict(run_id, run.model_dump(mode="json"), "run.json")


def _log_trial(client: Any, experiment: str, parent: str, run: RunRecord, trial: Trial) -> None:
    began = trial.started or run.started  # of a search that an older version made only lengths are known
    ended = began + timedelta(seconds=trial.seconds)
    tags = {"mlflow.parentRunId": parent, "slipway.trial": str(trial.number)}
    made = client.create_run(experiment, start_time=_ms(began), run_name=f"trial {trial.number}", tags=tags)
    values, status = ({}, "FAILED") if trial.value is None else ({run.tuning.metric: trial.value}, "FINISHED")
    _log(client, made.info.run_id, trial.params, values, ended)
    client.set_terminated(made.info.run_id, status, end_time=_ms(ended))


def _discard(client: Any, experiment: str, run_id: str) -> None:
    for child in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'"):
        client.delete_run(child.info.run_id)
    client.delete_run(run_id)


def runs_of(client: Any, experiments: Sequence[str], run_id: str) -> list[Any]:
    asked = experiments and "'" not in run_id
    return list(client.search_runs(list(experiments), f"tags.`{RUN_ID}` = '{run_id}'")) if asked else []


def _experiment(client: Any, name: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    file = _sqlite_file(uri)
    place = None if file is None else (file.parent / "artifacts").absolute().as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:  # else another process was first
            raise
        return str(found.experiment_id)


def downloaded(address: str, uri: str, folder: Path) -> Path:
    """The model at *address*, ``models:/NAME/VERSION`` or ``runs:/ID/PATH`` of the store at *uri*, fetched to *folder*.

    Raises:
        DataError: the store has no such model.
        InfrastructureError: it does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with store_client(uri) as client:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            name, _, version = address.removeprefix("models:/").rpartition("/")
            if address.startswith("models:/") and name:  # which MLflow itself looks for in another store
                address = client.get_model_version_download_uri(name, version)
            return Path(download_artifacts(address, dst_path=str(folder), tracking_uri=uri, registry_uri=uri))
        except (MlflowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise DataError(f"{address}: the tracking store {uri} has no such model ({reason})") from error


@contextlib.contextmanager
def store_client(uri: str) -> Iterator[Any]:
    """An MLflow client of the store at *uri*, its tables made; the only one of this machine for an SQLite file."""
    mlflow = _mlflow()
    file = _sqlite_file(uri)
    if file is None and not re.match(r"https?://|postgresql|mysql", uri):
        raise ConfigError(f"no tracking store at {uri!r}: expected 'sqlite:///file.db' or the address of a server")
    with file_lock(file.with_name(f"{file.name}.lock")) if file is not None else contextlib.nullcontext():
        try:
            yield mlflow.MlflowClient(uri, registry_uri=uri)
        except (mlflow.exceptions.MlflowException, SQLAlchemyError) as error:
            reason = str(error).splitlines()[0]
            raise InfrastructureError(f"the tracking store {uri} failed: {reason}; nothing depends on it") from error


def _mlflow() -> Any:
    """MLflow, imported so that it reports to nobody and gives a silent server up after seconds.

    MLflow starts its telemetry when it is imported and reads these settings from nowhere but the process's environment,
    which is why they are set here; what the caller has set already stays.
    """
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    try:
        import mlflow
    except ImportError as error:
        raise PlaceError("MLflow is not installed; install slipway[mlflow] or switch tracking off") from error
    for name in ("mlflow.store.db.utils", "alembic"):  # they announce each table they make
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _key(name: str) -> str:
    """*name* with what MLflow does not take in a key replaced."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)

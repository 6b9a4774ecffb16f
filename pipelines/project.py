"""A project: one ``project.yaml`` read into frozen objects, every mistake named by its key as typed."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from components.data.split import SplitPolicy, check_policy
from components.judging.gates import Gate, check_gates
from components.judging.metrics import get as get_metric
from components.modelling.families import ModelSpec, check_task
from components.modelling.features import FeatureSpec, check_features
from components.modelling.tuning import Search, check_search
from components.watching.policy import Retrain, Watch
from components.watching.watch import check_alarms
from pipelines import project_file
from pipelines.project_file import NAME
from serving.contract import Contract, Frozen
from serving.errors import ConfigError
from serving.rollout.plan import RolloutPlan


class Success(Frozen):
    """The figure that says the project was worth it; shown in the report beside what was reached."""

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_level(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("success needs exactly one of 'at_most' and 'at_least'")
        return self


class Problem(Frozen):
    objective: str = ""
    success: Success | None = None


class Source(Frozen):
    """Where the table comes from: a path, ``s3://``, or the scheme of an installed source such as ``market://``."""

    uri: Annotated[str, Field(min_length=1)]


class Project(Frozen):
    """Everything that distinguishes one model from another; two projects differ in nothing else."""

    name: Annotated[str, Field(pattern=NAME)]
    problem: Problem = Problem()
    source: Source
    contract: Contract
    split: SplitPolicy
    features: FeatureSpec = FeatureSpec()
    model: ModelSpec
    search: Search = Search()
    slices: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    approval: Literal["auto", "manual"] = "auto"
    rollout: RolloutPlan = RolloutPlan()
    watch: Watch = Watch()
    retrain: Retrain = Retrain()
    seed: int = 0
    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """Where it was read from; no part of what distinguishes projects, and None for one that no file holds."""
        return self._file


def load(path: Path) -> Project:
    """Read *path*; relative source paths are taken from its folder.

    Raises:
        ConfigError: the file is missing, is no YAML, or a key is unknown, missing or wrong; all are named at once.
    """
    project = parse(project_file.read(path), where=str(path), base=path.parent)
    project._file = path
    return project


def parse(value: Any, where: str = "project", base: Path | None = None) -> Project:
    """The project in *value*, a mapping as YAML gives it."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected keys and values, starting with name:, got {type(value).__name__}")
    try:
        project = Project.model_validate(value)
        _check_sections(project)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_sentences(error))) from error
    except ConfigError as error:  # what only two sections together can say
        raise ConfigError(f"{where}: {error}") from error
    return project if base is None else _anchored(project, base)


def _anchored(project: Project, base: Path) -> Project:
    """With a relative source path made absolute, so that a run does not depend on where it was started."""
    uri = project.source.uri
    if urlsplit(uri).scheme or Path(uri).is_absolute():
        return project
    return project.model_copy(update={"source": Source(uri=str((base / uri).resolve()))})


def _check_sections(project: Project) -> None:
    """What a section says about another: columns, parameters and metrics that must exist there."""
    columns = project.contract.columns
    for name in project.slices:
        if name not in columns:
            raise ConfigError(f"slices: no column {name!r} in contract.columns{_nearest(name, columns)}")
    check_policy(project.split, project.contract)
    check_task(project.model, project.contract.task)
    check_features(project.contract, project.features, project.model)
    check_search(project.search, project.model, project.contract)
    check_gates(project.gates, project.contract)
    check_alarms(project.watch, project.contract)
    if project.problem.success is not None:
        get_metric(project.problem.success.metric, where="problem.success.metric", task=project.contract.task)


def _sentences(error: ValidationError) -> list[str]:
    return [_sentence(dict(problem)) for problem in error.errors(include_url=False)]


def _sentence(problem: dict[str, Any]) -> str:
    key = _key(problem["loc"])
    kind, seen = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        parent, known = _section(problem["loc"][:-1])
        return f"{key}: unknown key{_nearest(str(problem['loc'][-1]), known)}; {parent} knows {', '.join(known)}"
    if kind == "missing":
        return f"{key}: missing, and it has no default"
    message = re.sub(r"^Value error, |^Assertion failed, ", "", problem["msg"])
    message = re.sub(r"^Input should be", "expected", message)
    return (
        f"{key}: {message}, got {seen!r}" if isinstance(seen, str | int | float | bool | None) else f"{key}: {message}"
    )


def _key(location: tuple[Any, ...]) -> str:
    """The place as typed: ``gates[2].metric``."""
    words = ""
    for part in location:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else str(part)
    return words or "project"


def _section(location: tuple[Any, ...]) -> tuple[str, list[str]]:
    """The section at *location* and the keys it knows, found by walking the model."""
    model: type[BaseModel] | None = Project
    for part in location:
        if model is None or isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        model = _model_in(field.annotation) if field else model
    return _key(location), sorted(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model class inside an annotation such as ``dict[str, Column]`` or ``Success | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

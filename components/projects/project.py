"""A project: one ``project.yaml`` read into frozen objects, every mistake named by its key as typed."""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from components.data.split import SplitPolicy, check_policy
from components.judging import metrics
from components.judging.gates import Demands, Gate, Guards, check_gates
from components.modelling.checking import check_model
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.tuning import Search, check_search
from components.projects import project_file
from components.projects.project_file import NAME
from components.watching.policy import Retrain, Watch
from components.watching.watch import check_alarms
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


def _as_mistake(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A section that refuses itself is one mistake among others, at its place."""
    try:
        return handler(value)
    except ConfigError as error:
        raise ValueError(str(error)) from error


class Project(Frozen):
    """Everything that distinguishes one model from another; two projects differ in nothing else."""

    name: Annotated[str, Field(pattern=NAME)]
    problem: Problem = Problem()
    source: Source
    contract: Contract
    split: SplitPolicy
    features: FeatureSpec = FeatureSpec()
    model: Annotated[ModelSpec, WrapValidator(_as_mistake)]
    search: Annotated[Search, WrapValidator(_as_mistake)] = Search()
    slices: tuple[str, ...] = ()
    gates: tuple[Annotated[Gate, WrapValidator(_as_mistake)], ...] = ()
    guards: Guards = Guards()
    approval: Literal["auto", "manual", "auto-if-compared"] = "auto"
    rollout: RolloutPlan = RolloutPlan()
    watch: Watch = Watch()
    retrain: Retrain = Retrain()
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0  # what scikit-learn and numpy take
    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """Where it was read from; no part of what distinguishes projects, and None for one that no file holds."""
        return self._file

    @property
    def demands(self) -> Demands:
        """The gates, and the guards as gates."""
        late = self.watch.labels.delay.total_seconds() > 0
        return Demands(
            gates=self.gates, guards=self.guards.gates(self.contract, self.search.metric, self.gates, late=late)
        )


def load(path: Path) -> Project:
    """Read *path*; relative source paths are taken from its folder.

    Raises:
        ConfigError: the file is missing, is no YAML, or a key is unknown, missing or wrong; all are named at once.
    """
    project = from_text(project_file.text_of(path), str(path))
    project = project.model_copy(update={"source": Source(uri=anchored(project.source.uri, path.parent))})
    project._file = path
    return project


def from_text(text: str, where: str = "project") -> Project:
    """The project that *text* is the YAML of; *where* it stands is told with what is wrong.

    Raises:
        ConfigError: as ``load``.
    """
    project, mistakes = _read(project_file.value_of(text, where), units=True)
    if project is None or mistakes:
        raise ConfigError("; ".join(project_file.placed(text, where, mistakes)))
    return project


def parse(value: Any) -> Project:
    """The project in *value*, as ``load`` but from a mapping, in which a duration may be a number of seconds."""
    project, mistakes = _read(value, units=False)
    if project is None or mistakes:
        raise ConfigError("project: " + "; ".join(mistakes))
    return project


def _read(value: Any, *, units: bool) -> tuple[Project | None, list[str]]:
    """The project in *value*, and what is wrong with it, each beginning with its key; *units* of durations are asked.

    Lax reading would take "5" for 5 and "yes" for true: the type that is written is the type that is meant.
    """
    if not isinstance(value, Mapping):
        return None, [f"expected keys and values, starting with name:, got {type(value).__name__}"]
    if mistakes := list(_unfit(value, ())):
        return None, mistakes
    try:
        project = Project.model_validate(_lists_as_tuples(value), strict=True, context={"units": units})
    except ValidationError as error:
        return None, _sentences(error)
    except ConfigError as error:
        return None, [str(error)]
    return project, list(_mismatches(project))


def _unfit(value: Any, location: tuple[Any, ...]) -> Iterator[str]:
    """What no key can mean, wherever it stands: a number that is none, a key that is no text, a type beyond JSON."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{_key((*location, str(key)))}: expected a text as key, got {key!r}; put it in quotes"
            yield from _unfit(item, (*location, str(key)))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _unfit(item, (*location, place))
    elif not isinstance(value, str | int | float | None):
        yield f"{_key(location)}: expected a text, a number, true, false or null, got {type(value).__name__}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{_key(location)}: expected a finite number, got {value!r}"
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        yield f"{_key(location)}: expected a whole number of at most 64 bits"


def _lists_as_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists_as_tuples(item) for key, item in value.items()}
    return tuple(map(_lists_as_tuples, value)) if isinstance(value, list | tuple) else value


def anchored(uri: str, base: Path) -> str:
    """*uri* with a relative path made absolute, so that a run does not depend on where it was started."""
    return uri if "://" in uri or Path(uri).is_absolute() else str((base / uri).resolve())


def _check_slices(project: Project) -> None:
    columns = project.contract.columns
    for name in project.slices:
        if name not in columns:
            raise ConfigError(f"slices: no column {name!r} in contract.columns{_nearest(name, columns)}")


def _check_success(project: Project) -> None:
    if (success := project.problem.success) is not None:
        metric = metrics.get(success.metric, where="problem.success.metric", task=project.contract.task)
        side = "at_least" if success.at_most is None else "at_most"
        metrics.check_side("problem.success", metric, side, less="at_most", more="at_least")
        metrics.check_floor(f"problem.success.{side}", metric, getattr(success, side))


def _check_times(project: Project) -> None:
    """What is counted from the moment of a row needs one."""
    rules = project.contract
    for key, given in (("retrain.window", project.retrain.window), ("contract.max_age_days", rules.max_age_days)):
        if given is not None and rules.event_time is None:
            raise ConfigError(f"{key}: needs contract.event_time, the column with the moment of each row")


def _check_model(project: Project) -> None:
    check_model(project.model, project.features, project.contract)
    check_search(project.search, project.model, project.contract)


# What a section says about another: columns, parameters and metrics that must exist there.
_CHECKS: tuple[Callable[[Project], None], ...] = (
    _check_slices,
    _check_success,
    _check_times,
    lambda project: check_policy(project.split, project.contract),
    _check_model,
    lambda project: check_gates(project.gates, project.contract),
    lambda project: check_alarms(project.watch, project.contract),
)


def _mismatches(project: Project) -> Iterator[str]:
    for check in _CHECKS:
        try:
            check(project)
        except ConfigError as error:
            yield str(error)


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
    message = re.sub(r"^Input should be", "expected", message).replace("a valid tuple", "a list")
    section = re.sub(r"\[\d+\]$", "", key)
    if message.startswith((f"{section}.", f"{section}:")):  # the section names its key itself, without its place
        return key + message.removeprefix(section)
    told = not isinstance(seen, str | int | float | None) or repr(seen) in message
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(seen, int | float) else ""
    return f"{key}: {message}" + ("" if told else f", got {seen!r}") + quotes


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

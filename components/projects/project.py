"""A project: one ``project.yaml`` read into frozen objects, every mistake named by its key as typed."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
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
from components.modelling.saying import Besides
from components.modelling.search.tuning import Search, check_search
from components.projects import project_file
from components.projects.mistakes import key_at, nearest, sentences
from components.projects.project_file import NAME
from components.watching.policy import Retrain, Watch
from components.watching.watch import check_alarms
from serving.contract import Contract, Frozen
from serving.errors import ConfigError
from serving.features.compile import ColumnMistakes
from serving.rollout.plan import RolloutPlan


class Success(Frozen):
    """The figure that says the project was worth it; shown in the report beside what was reached.

    Attributes:
        metric: as of a gate.
        at_most, at_least: the level that was hoped for, in the metric's unit.
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_level(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("success needs exactly one of 'at_most' and 'at_least'")
        return self


class Problem(Frozen):
    """What for.

    Attributes:
        objective: in words of those who use it; shown on pages.
        success: the figure that says the project was worth it.
    """

    objective: str = ""
    success: Success | None = None


class Source(Frozen):
    """Where the table comes from: a path, ``s3://``, or the scheme of an installed source such as ``market://``.

    Attributes:
        uri: of CSV or parquet, of one file or of a directory; a relative path is taken from the project's folder.
    """

    uri: Annotated[str, Field(min_length=1)]


def _as_mistake(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A section that refuses itself is one mistake among others, at its place."""
    try:
        return handler(value)
    except ConfigError as error:
        raise ValueError(str(error)) from error


class Project(Besides):
    """Everything that distinguishes one model from another; two projects differ in nothing else.

    Attributes:
        name: of the model: lower-case letters, digits and dashes, at most 40.
        problem: what it is for.
        source: where the table is.
        contract: which columns a row has and what each may hold.
        split: which rows a model is judged on.
        features: how columns become numbers.
        model: the family and its fixed parameters.
        search: which parameters to try, and for how long.
        evaluation: how quality is estimated besides the held-out rows.
        interval: share of truths that intervals cover, 0.5..0.99 in whole percent: ``lower`` and ``upper`` of batches,
            and in answers on request.
        probabilities: how stated probabilities are made what is observed.
        threshold: from which probability on the second of two classes is the answer; by default from a half.
        costs: what it costs that a row of one class is answered as another, true class first; what is not named costs
            1, and the class of least expected cost is the answer.
        slices: columns along which figures are given apart, beside those of gates.
        gates: what a candidate must keep before it may serve.
        guards: gates that stand in every project; ``off`` takes one down.
        approval: whether an accepted candidate is released at once; ``auto-if-compared`` waits for a person where the
            champion could not be asked, ``manual`` always.
        rollout: how a new version gets the traffic.
        watch: what is looked at while a version serves, and when it is an alarm.
        retrain: when the loop trains again.
        seed: of everything that is drawn; equal seeds and rows give equal models.
    """

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
    def along(self) -> tuple[str, ...]:
        """The columns along which figures are given apart: those asked for, and those of gates."""
        return tuple(dict.fromkeys([*self.slices, *(gate.slice for gate in self.gates if gate.slice)]))

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
        return None, sentences(error, Project)
    except ConfigError as error:
        return None, [str(error)]
    return project, list(_mismatches(project))


def _unfit(value: Any, location: tuple[Any, ...]) -> Iterator[str]:
    """What no key can mean, wherever it stands: a number that is none, a key that is no text, a type beyond JSON."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{key_at((*location, str(key)))}: expected a text as key, got {key!r}; put it in quotes"
            yield from _unfit(item, (*location, str(key)))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _unfit(item, (*location, place))
    elif not isinstance(value, str | int | float | None):
        yield f"{key_at(location)}: expected a text, a number, true, false or null, got {type(value).__name__}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key_at(location)}: expected a finite number, got {value!r}"
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        yield f"{key_at(location)}: expected a whole number of at most 64 bits"


def _lists_as_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists_as_tuples(item) for key, item in value.items()}
    return tuple(map(_lists_as_tuples, value)) if isinstance(value, list | tuple) else value


def anchored(uri: str, base: Path) -> str:
    """*uri* with a relative path made absolute, so that a run does not depend on where it was started."""
    return uri if "://" in uri or Path(uri).is_absolute() else str((base / uri).resolve())


def _check_slices(project: Project) -> None:
    columns = project.contract.slots
    for name in project.slices:
        if name not in columns:
            raise ConfigError(f"slices: no column {name!r} in contract.columns{nearest(name, columns)}")


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
    lambda project: project.check_says(
        project.contract, [*(one.metric for one in project.gates), *project.watch.alarm], project.split.by
    ),
    lambda project: check_gates(project.gates, project.contract),
    lambda project: check_alarms(project.watch, project.contract),
)


def _mismatches(project: Project) -> Iterator[str]:
    for check in _CHECKS:
        try:
            check(project)
        except ColumnMistakes as error:
            yield from error.mistakes
        except ConfigError as error:
            yield str(error)

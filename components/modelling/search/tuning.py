"""The search for better parameters than the project's own, on training rows only.

Trials run one after another: each proposal of the sampler (tree-structured Parzen estimator, Bergstra 2011) rests on
the values before it, so a seeded search gives the same trials every time. The one exception is the time limit, which
cuts the row of trials at a place that depends on the machine; the result says so.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from components.data.split import SplitPolicy
from components.judging import metrics
from components.modelling.families import ModelSpec, check_names, check_values, settings_of
from components.modelling.features import FeatureSpec
from components.modelling.recipes import AUTO
from components.modelling.search.ground import Ground
from components.modelling.search.progress import Kept, Progress
from components.modelling.search.tuning_values import Trial, Tuning
from serving.contract import Contract, Frozen
from serving.durations import Span, parse
from serving.errors import ConfigError, PlaceError

Kind = Literal["log", "float", "int", "choice"]
TRIALS = 16


class Search(Frozen):
    """What to try, and for how long; an empty space means no search.

    Attributes:
        timeout: after which no further trial begins.
        trials: how many, the project's own parameters being the first; None: 16, and of families as time allows.
        space: estimator parameter to ``{log: [a, b]}``, ``{float: [a, b]}``, ``{int: [a, b]}`` or ``{choice: [...]}``.
        metric: what trials are compared by; None: rmse, or log_loss.
    """

    trials: Annotated[int, Field(ge=1, le=10_000)] | None = None
    timeout: Span = parse("60s")
    space: dict[str, dict[Kind, tuple[Any, ...]]] = Field(default_factory=dict)
    metric: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, dimension in self.space.items():
            _check_dimension(f"search.space.{name}", dimension)
        if self.metric is not None:
            metrics.get(self.metric, where="search.metric")
        return self


def check_search(search: Search, model: ModelSpec, contract: Contract) -> None:
    """Refuse a *search* over parameters or values that the *model* does not take, or by a metric of another task."""
    if model.family == AUTO and search.space:
        raise ConfigError("search.space: of no use without a family, since 'auto' chooses what to try; leave it out")
    if model.family != AUTO:
        _check_space(search, model, contract)
    if search.metric is not None:
        metric = metrics.get(search.metric, where="search.metric", task=contract.task)
        if metric.takes not in ("values", "answered"):
            raise ConfigError(f"search.metric: trials only predict, and {metric.label} is of what is said besides")


def _check_space(search: Search, model: ModelSpec, contract: Contract) -> None:
    check_names(model.family, search.space, where="search.space", task=contract.task)
    for name, dimension in search.space.items():
        for kind, given in dimension.items():
            for value in given:
                tried = value if kind in ("int", "choice") else float(value)
                check_values(model.family, {name: tried}, where="search.space", task=contract.task)


def tune(
    table: pl.DataFrame,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    search: Search,
    policy: SplitPolicy,
    seed: int,
    progress: Progress | None = None,
) -> Tuning:
    """Search on the training rows of *table*; ``Tuning.skipped`` when the space is empty.

    The rows are cut as *policy* cuts the holdout (``folds``); no key or group is on both sides. Of an earlier attempt
    with the same arguments *progress* has the trials; the result is the same as of one undisturbed search.

    Raises:
        ConfigError: a parameter or value the family refuses already in the project's own parameters.
        PlaceError: Optuna is not installed.
    """
    check_search(search, model, contract)
    if not search.space:
        return Tuning()
    ground = Ground.of(table, contract, features, model, search.metric, policy, seed)
    trials, timed_out = _search(ground, search, seed, progress or Progress())
    scored = [(ground.metric.loss(trial.value), trial.number, trial) for trial in trials if trial.value is not None]
    best = min(scored)[2]  # the trial number breaks ties, so the project's own parameters win them
    return Tuning(
        trials=tuple(trials),
        best_params=best.params if best.number else {},
        best_score=best.value,
        baseline_score=trials[0].value,
        timed_out=timed_out,
        **ground.told(),
    )


def _defaults(ground: Ground, names: Mapping[str, Any]) -> dict[str, Any]:
    """What the project's own parameters are for *names*."""
    own = settings_of(ground.model, ground.contract.task, ground.seed)
    return {name: own[name] for name in names}


def _value(ground: Ground, params: Mapping[str, Any]) -> float:
    """The metric of the model with *params*; NaN where a fold does not define it."""
    model = ground.model.model_copy(update={"params": {**ground.model.params, **params}})
    return ground.value([ground.said(fold, model)[0] for fold in ground.folds])


def _search(ground: Ground, search: Search, seed: int, progress: Progress) -> tuple[list[Trial], bool]:
    """All trials in order, and whether the time limit cut them short; the first always runs."""
    optuna = _optuna()
    study, distributions = _study(optuna, search, seed)
    limit = search.timeout.total_seconds()
    own = _defaults(ground, search.space)
    trials = [_trial(0, own, ground, progress)]
    if trials[0].value is None:
        raise ConfigError(f"model: the project's own parameters cannot be searched from: {trials[0].failure}")
    if all(_inside(distributions[name], value) for name, value in own.items()):
        loss = ground.metric.loss(trials[0].value)
        study.add_trial(optuna.trial.create_trial(params=own, distributions=distributions, value=loss))
    while len(trials) < (search.trials or TRIALS):
        if progress.now() >= limit:
            return trials, True
        asked = study.ask(distributions)
        trial = _trial(len(trials), dict(asked.params), ground, progress)
        failed = optuna.trial.TrialState.FAIL if trial.value is None else None
        study.tell(asked, None if trial.value is None else ground.metric.loss(trial.value), state=failed)
        trials.append(trial)
    return trials, False


def _trial(number: int, params: Mapping[str, Any], ground: Ground, progress: Progress) -> Trial:
    asked = json.dumps([number, params], sort_keys=True)
    if known := progress.recall(asked):
        return Trial.model_validate(known.told["trial"])
    start, started = time.monotonic(), datetime.now(UTC)
    value, failure = None, ""
    try:
        seen = _value(ground, params if number else {})
        value = seen if math.isfinite(seen) else None
        failure = "" if value is not None else f"{ground.metric.label} cannot be computed on the validation rows"
    except ConfigError as error:
        failure = str(error)
    took = round(time.monotonic() - start, 3)
    trial = Trial(number=number, params=dict(params), value=value, failure=failure, seconds=took, started=started)
    progress.keep(asked, Kept({"trial": trial.model_dump(mode="json")}))
    return trial


def _optuna() -> Any:
    try:
        import optuna  # a project without a search needs no Optuna, and its import is slow
    except ImportError as error:
        raise PlaceError(
            "the project has a search space, but Optuna is not installed; install slipway[tune]"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(optuna: Any, search: Search, seed: int) -> tuple[Any, dict[str, Any]]:
    """A study that minimizes, and the distributions of its space."""
    spaces = optuna.distributions
    build: dict[Kind, Callable[[tuple[Any, ...]], Any]] = {
        "log": lambda bounds: spaces.FloatDistribution(*map(float, bounds), log=True),
        "float": lambda bounds: spaces.FloatDistribution(*map(float, bounds)),
        "int": lambda bounds: spaces.IntDistribution(*map(int, bounds)),
        "choice": spaces.CategoricalDistribution,
    }
    distributions = {
        name: build[kind](given) for name, dimension in search.space.items() for kind, given in dimension.items()
    }
    # A third of the trials explores before the sampler starts to lean on what it has seen.
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(3, min(10, (search.trials or TRIALS) // 3)))
    return optuna.create_study(sampler=sampler, direction="minimize"), distributions


def _inside(distribution: Any, value: Any) -> bool:
    """Whether a project's own *value* lies in the space; None or 'sqrt' for a numeric one does not."""
    if hasattr(distribution, "choices"):
        return any(type(value) is type(choice) and value == choice for choice in distribution.choices)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and distribution.low <= value <= distribution.high


def _check_dimension(where: str, dimension: Mapping[Kind, tuple[Any, ...]]) -> None:
    if len(dimension) != 1:
        raise ConfigError(f"{where}: expected exactly one of log, float, int, choice; seen {list(dimension)}")
    kind, given = next(iter(dimension.items()))
    if kind == "choice":
        if not given or not all(value is None or isinstance(value, str | int | float) for value in given):
            raise ConfigError(
                f"{where}.choice: expected a list of texts, numbers, true, false or null; seen {list(given)}"
            )
        return
    types = (int,) if kind == "int" else (int, float)
    numbers = len(given) == 2 and all(isinstance(value, types) and not isinstance(value, bool) for value in given)
    if not numbers or not 0 < given[1] - given[0] < math.inf or (kind == "log" and given[0] <= 0):
        noun = {"int": "two whole numbers", "log": "two numbers above 0", "float": "two numbers"}[kind]
        raise ConfigError(f"{where}.{kind}: expected {noun} [low, high] with low < high; seen {list(given)}")

"""The search over families: a portfolio first, then variations of what did best, then the mean of the best few.

Trials of a batch run side by side, each on one thread, and what comes next depends on whole batches alone, so that a
seeded search is the same on any number of cores; but for the time limit, which cuts it where the machine is then.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from components.data.split import SplitPolicy
from components.data.tables import Vector
from components.judging.metrics import Metric
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.mixtures import Member, Mixture
from components.modelling.search import portfolio
from components.modelling.search.folds import Fold
from components.modelling.search.ground import Ground
from components.modelling.search.progress import Kept, Progress
from components.modelling.search.tuning import Search, check_search
from components.modelling.search.tuning_values import Trial, Tuning
from serving.contract import Contract
from serving.errors import ConfigError, DataError, PlaceError

BATCH = 4  # trials that know nothing of each other
MOST = 10_000  # trials; time is over long before
MEMBERS = 4  # of a mean, at most
DRAWS = 12  # of the greedy choice: weights are twelfths
MOST_TREES = 1200  # of all members together: one row is scored in less than a tenth of a millisecond
MOST_SEEDS = 3
PROMISING = 0.1  # of the loss of trees, by which a straight line may be worse for its penalty to be looked for
LATE = "no time was left"
GAIN = 1e-3  # by which a mean must beat its best member, as a share of that one's loss


@dataclass(frozen=True)
class Tried:
    """One member, what it said of the validation rows, and its loss; infinite, with the reason, where it failed."""

    member: Member
    loss: float
    said: Sequence[Vector] = field(default=(), repr=False)
    failure: str = ""
    seconds: float = 0.0
    started: datetime | None = None


def tune_families(
    table: pl.DataFrame,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    wanted: Search,
    policy: SplitPolicy,
    seed: int,
    progress: Progress | None = None,
) -> Tuning:
    """As ``tuning.tune``, over families; ``best_params`` are a ``Mixture``.

    Raises:
        ConfigError: too few rows, or nothing could be fitted.
    """
    check_search(wanted, model, contract)
    ground = Ground.of(table, contract, features, model, wanted.metric, policy, seed)
    tried, timed_out = search(ground, wanted.timeout.total_seconds(), wanted.trials or MOST, progress or Progress())
    mixture, loss = chosen(ground, tried)
    trials = tuple(as_trial(number, one, ground.metric) for number, one in enumerate(tried))
    return Tuning(
        trials=trials,
        best_params=mixture.model_dump(mode="json"),
        best_score=ground.metric.loss(loss),
        baseline_score=next(trial.value for trial in trials if trial.value is not None),
        timed_out=timed_out,
        **ground.told(),
    )


def search(ground: Ground, seconds: float, most: int, progress: Progress) -> tuple[list[Tried], bool]:
    """All trials in order, at most *most*, and whether the time limit cut them short; the first always runs."""
    tried: list[Tried] = []
    with ThreadPoolExecutor(min(BATCH, os.cpu_count() or 1)) as pool:
        for batch in _batches(ground, tried):
            left = batch[: most - len(tried)]
            opening = None if tried else left[0]
            tried += pool.map(
                lambda member, opening=opening: _trial(
                    ground, member, lambda: member is not opening and progress.now() >= seconds, progress
                ),
                left,
            )
            tried[:] = [one for one in tried if one.failure != LATE]
            if len(tried) >= most:
                return tried, False
            if progress.now() >= seconds:
                return tried, True
    return tried, False


def _batches(ground: Ground, tried: list[Tried]) -> Iterator[list[Member]]:
    """What to try next, of what is *tried* by then."""
    unit = ground.model.unit
    target = ground.target / ground.matrix[:, list(ground.contract.slots).index(unit)] if unit else ground.target
    about, random = portfolio.Prospects.of(ground.contract, target), np.random.default_rng(ground.seed)
    opening = [_asked(one, ground.model) for one in portfolio.first(about)]
    yield from _cut(list({one.model_dump_json(): one for one in opening}.values()))
    boosted = [one for one in tried if FAMILIES[one.member.family].rounds]
    best = min(boosted or tried, key=lambda one: one.loss)
    line = min((one for one in tried if FAMILIES[one.member.family].linear), key=lambda one: one.loss)
    if line.loss < best.loss + PROMISING * abs(best.loss):  # of what is to be large the loss is below 0
        yield portfolio.straighter(line.member)
    yield from _cut([_asked(one, ground.model) for one in portfolio.second(about, best.member)])
    while True:
        ranked = sorted(tried, key=lambda one: one.loss)[: 2 * BATCH]
        chances = 0.6 ** np.arange(len(ranked))
        picked = random.choice(len(ranked), BATCH, p=chances / chances.sum())
        yield [portfolio.varied(ranked[place].member, random) for place in picked]


def _cut(members: list[Member]) -> Iterator[list[Member]]:
    for place in range(0, len(members), BATCH):
        yield members[place : place + BATCH]


def _asked(member: Member, model: ModelSpec) -> Member:
    """With the target that the project asks for, if it asks for one."""
    return member if model.target == "none" else member.model_copy(update={"target": model.target})


def _trial(ground: Ground, member: Member, over: Callable[[], bool], progress: Progress) -> Tried:
    """*member* fitted on each fold, its rounds counted; kept, unless the end of the time had a part in it."""
    asked = member.model_dump_json()
    if known := progress.recall(asked):
        told, found = known.told, Member.model_validate(known.told["member"])
        started = datetime.fromisoformat(told["started"])
        return _tried(ground, found, known.said, told["failure"], told["seconds"], started)
    ending = _Ending(over)
    start, started = time.monotonic(), datetime.now(UTC)
    said, failure = list[Vector](), ""
    try:
        if ending():
            raise PlaceError(LATE)  # noqa: TRY301 - told as any other reason
        rounds = []
        for fold in ground.folds:
            answer, counted = _fold(ground, member, fold, ending)
            said.append(answer)
            rounds += [] if counted is None else [counted]
        if rounds:
            name = FAMILIES[member.family].rounds
            member = member.model_copy(update={"params": {**member.params, name: max(1, round(np.mean(rounds)))}})
    except (ConfigError, DataError, PlaceError) as error:
        said, failure = [], str(error)
    tried = _tried(ground, member, said, failure, round(time.monotonic() - start, 3), started)
    if not ending.seen:
        told = {"member": member.model_dump(mode="json"), "failure": tried.failure}
        told |= {"seconds": tried.seconds, "started": started.isoformat()}
        progress.keep(asked, Kept(told, said))
    return tried


@dataclass
class _Ending:
    """Whether time is over, and whether anybody was told so."""

    over: Callable[[], bool]
    seen: bool = False

    def __call__(self) -> bool:
        self.seen = self.seen or self.over()
        return self.seen


def _tried(
    ground: Ground, member: Member, said: Sequence[Vector], failure: str, seconds: float, started: datetime
) -> Tried:
    loss = ground.loss(said) if said else np.inf
    unknown = "" if np.isfinite(loss) else f"{ground.metric.label} cannot be computed on the validation rows"
    return Tried(member, loss, said, failure or unknown, seconds, started)


def _fold(ground: Ground, member: Member, fold: Fold, over: Callable[[], bool]) -> tuple[Vector, int | None]:
    params = dict(member.params)
    if name := FAMILIES[member.family].rounds:
        params[name] = portfolio.most_rounds(member.family)
    spec = member.model_copy(update={"params": params}).spec(ground.model, ground.features, ground.contract)
    return ground.said(fold, spec, over)


def chosen(ground: Ground, tried: Sequence[Tried]) -> tuple[Mixture, float]:
    """The best, or the mean of the best few where that is better, and its loss.

    Caruana et al., "Ensemble selection from libraries of models", ICML 2004: members are drawn one after another, each
    the one that makes the mean best, and may be drawn again.

    Raises:
        ConfigError: nothing could be fitted.
    """
    able = sorted((one for one in tried if np.isfinite(one.loss)), key=lambda one: one.loss)
    if not able:
        raise ConfigError(f"model: no family could be fitted: {tried[0].failure}")
    draws = _draws(ground, able[:24])
    loss = ground.loss(_mean(able, draws))
    if loss > able[0].loss - GAIN * abs(able[0].loss):
        draws, loss = [0], able[0].loss
    members = [
        able[place].member.model_copy(update={"weight": draws.count(place) / len(draws)})
        for place in dict.fromkeys(draws)
    ]
    return Mixture(members=tuple(_seeded(members))), loss


def _draws(ground: Ground, able: Sequence[Tried]) -> list[int]:
    """Which of *able* are drawn, in order, up to where the mean was best."""
    draws: list[int] = []
    losses: list[float] = []
    for _ in range(DRAWS):
        scored = [(ground.loss(_mean(able, [*draws, place])), place) for place in _open_to(able, draws)]
        loss, place = min(scored)
        draws, losses = [*draws, place], [*losses, loss]
    return draws[: int(np.argmin(losses)) + 1]


def _open_to(able: Sequence[Tried], draws: Sequence[int]) -> list[int]:
    """Which may be drawn next: any of those already in, and others while a row has time for them."""
    inside = set(draws)
    room = MOST_TREES - sum(_trees(able[place].member) for place in inside)
    more = len(inside) < MEMBERS
    fits = (place for place, one in enumerate(able) if not inside or (more and _trees(one.member) <= room))
    return sorted(inside | set(fits))


def _mean(able: Sequence[Tried], draws: Sequence[int]) -> list[Vector]:
    return [np.mean([able[place].said[fold] for place in draws], axis=0) for fold in range(len(able[0].said))]


def _seeded(members: list[Member]) -> list[Member]:
    """Each fitted with as many seeds as leave the trees within what one row has time for."""
    trees = sum(_trees(one) for one in members)
    seeds = max(1, min(MOST_SEEDS, MOST_TREES // max(trees, 1)))
    return [one.model_copy(update={"seeds": seeds if _trees(one) else 1}) for one in members]


def _trees(member: Member) -> int:
    """How many trees it has that another seed would grow otherwise; a forest's are many already."""
    return int(member.params.get(FAMILIES[member.family].rounds, 0))


def as_trial(number: int, tried: Tried, metric: Metric) -> Trial:
    """What the page and MLflow tell of one."""
    told: dict[str, Any] = {"family": tried.member.family, "target": tried.member.target, **tried.member.params}
    value = None if not np.isfinite(tried.loss) else metric.loss(tried.loss)  # a loss of a loss is the value again
    return Trial(
        number=number, params=told, value=value, failure=tried.failure, seconds=tried.seconds, started=tried.started
    )

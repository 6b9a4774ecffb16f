"""Fitting: from rows that were accepted to a Pipeline that predicts."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.data.tables import Vector
from components.modelling.boosters import flattened
from components.modelling.by_column import placed
from components.modelling.families import NOTHING, ModelSpec, build_estimator
from components.modelling.features import FeatureSpec, build_pipeline
from components.modelling.kinds import family_of
from components.modelling.search.folds import Features, Fold
from components.modelling.search.rounds import Umpire, rounds_of, watching
from components.modelling.targets import Lesson, lesson_of
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError, SlipwayError
from serving.scoring.around import Retargeted
from serving.scoring.bends import BENDS, STRAIGHT, Back

BINNED, SAMPLED_LEAST = 200_000, 20  # rows that scikit-learn bins by; of that many values on average it meets some
SMEARING_DEALS = (
    3  # each row's residual is of a fit that did not see it: those of a forest's own rows are far too small
)


def fit(
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any] = NOTHING,
    weights: Vector | None = None,
) -> Pipeline:
    """A Pipeline fitted on a coded matrix and its target, whose rows count as *weights* say.

    One thread: sums are then added in one order, so that equal rows give equal models on any number of cores; and a
    second OpenMP thread costs many times what it brings as soon as anything else runs beside it.

    Raises:
        ConfigError: the family refuses a parameter's name or value.
        DataError: no rows, a class without a row, or a target that cannot be bent as the model says.
    """
    _complete(target, contract)
    lesson = lesson_of(model, contract, matrix, target, weights)
    fitting = _Fitting(matrix, contract, features, model, seed, params, lesson)
    with threadpool_limits(limits=1):
        pipeline = fitting.on(slice(None))
        if lesson.back == STRAIGHT:
            return pipeline
        back = fitting.smeared() if model.smearing else lesson.back
    return Pipeline([("model", Retargeted(pipeline, back.bend, back.numbers, back.per))])


def said_of(
    fold: Fold,
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    weights: Vector | None,
    over: Callable[[], bool] | None = None,
) -> tuple[Vector, int | None]:
    """What a model of the *fold*'s rows, fitted as ``fit`` does, says of its others as ``predict`` does, and the rounds
    after which boosting was best for those if it is boosting.

    Args:
        over: whether there is no time for another round; None: boosting takes the rounds that *model* says.
    """
    rows, held = fold.rows, matrix[fold.held]
    _complete(target[rows], contract)
    lesson = lesson_of(model, contract, matrix[rows], target[rows], None if weights is None else weights[rows])
    fitting = _Fitting(matrix[rows], contract, features, model, seed, NOTHING, lesson)
    kind = family_of(model.family)

    def made() -> Features:
        head, x, _ = fitting.features(slice(None))
        return Features(head, x, head.transform(contract.frame(held)))

    with threadpool_limits(limits=1), _told(model.family, features):
        known = fold.features((kind.linear, kind.native, model.target, model.unit), made)
        estimator = build_estimator(model, contract.task, seed)
        labels = _labels(lesson.back, contract, held, target[fold.held])
        watch = Umpire(known.held, labels, over) if over else None
        rounds = fitting.teach(estimator, known.head, known.rows, slice(None), watch)
        classes = contract.task == "classification"
        raw = np.asarray((estimator.predict_proba if classes else estimator.predict)(known.held), np.float64)
        back = fitting.counting(rounds).smeared() if model.smearing else lesson.back
    unit = held[:, list(contract.slots).index(back.per)] if back.per else None
    return raw if classes else back.of(raw, unit), rounds


@dataclass(frozen=True)
class _Fitting:
    """One recipe and the rows it is for."""

    matrix: Matrix
    contract: Contract
    spec: FeatureSpec
    model: ModelSpec
    seed: int
    params: Mapping[str, Any]
    lesson: Lesson

    def counting(self, rounds: int | None) -> "_Fitting":
        """The same with so many rounds."""
        name = family_of(self.model.family).rounds
        return self if rounds is None or not name else replace(self, params={**self.params, name: rounds})

    def on(self, rows: npt.NDArray[Any] | slice) -> Pipeline:
        """A pipeline fitted on *rows*, with an estimator that a bundle can hold."""
        with _told(self.model.family, self.spec):
            head, x, (name, estimator) = self.features(rows)
            self.teach(estimator, head, x, rows)
            return Pipeline([*head.steps, (name, flattened(estimator))])

    def features(self, rows: npt.NDArray[Any] | slice) -> tuple[Pipeline, Any, tuple[str, Any]]:
        """What stands before the estimator, fitted on *rows*, their features, and the unfitted estimator's step."""
        pipeline = build_pipeline(self.contract, self.spec, self.model, self.seed, self.params)
        head = pipeline[:-1]
        x = head.fit_transform(self.contract.frame(self.matrix[rows]), self.lesson.labels[rows])
        return head, x, pipeline.steps[-1]

    def teach(
        self, estimator: Any, head: Pipeline, x: Any, rows: npt.NDArray[Any] | slice, watch: Umpire | None = None
    ) -> int | None:
        """Fit *estimator* on features *x*, which *head* made of *rows*; the rounds that were best for the *watch*."""
        family = family_of(self.model.family)
        by_place = placed(self.model.family, {**self.model.params, **self.params}, head)
        weights = self.lesson.weights
        told: dict[str, Any] = {} if weights is None else {_weighing(estimator): weights[rows]}
        if family.sets_at_fit and family.sets in by_place:
            told[family.sets] = by_place.pop(family.sets)
        watched = watch is not None and bool(family.rounds)
        if watch is not None and watched:
            told |= watching(estimator, watch)
        x = x if family.rare else _without_rare(x, estimator)
        estimator.set_params(**by_place).fit(x, self.lesson.labels[rows], **told)
        return rounds_of(estimator, watch) if watch is not None and watched else None

    def smeared(self) -> Back:
        """The way back with what rows that a fit has not seen lie off it."""
        place = np.arange(len(self.matrix)) % SMEARING_DEALS
        if len(place) < SMEARING_DEALS:
            raise DataError(f"model.smearing: needs at least {SMEARING_DEALS} training rows, seen {len(place)}")
        residuals, back = np.empty(len(place)), self.lesson.back
        for deal in range(SMEARING_DEALS):
            out = place == deal
            said = self.on(~out).predict(self.contract.frame(self.matrix[out]))
            residuals[out] = self.lesson.labels[out] - said
        smear = BENDS[back.bend].smear
        assert smear is not None  # noqa: S101 - ModelSpec refuses the others
        return Back(back.bend, smear(back.numbers, residuals, self.lesson.weights), back.per)


def _weighing(estimator: Any) -> str:
    """The argument of its fit that takes the rows' weights."""
    key, last = "", estimator
    while hasattr(last, "steps"):
        name, last = last.steps[-1]
        key += f"{name}__"
    if not has_fit_parameter(last, "sample_weight"):
        raise ConfigError(f"model.weights: {type(last).__name__} takes no weights of rows; expected none, nor exposure")
    return f"{key}sample_weight"


def _without_rare(x: Matrix, estimator: Any) -> Matrix:
    """*x* with nothing but 0 in features that hardly any row has, since scikit-learn has no bins for none.

    It makes bins of a sample, which may miss what few rows have. A cut leaves missing values on one side, so that with
    fewer values than a leaf has rows there is none: such features change no tree.
    """
    least = max(estimator.min_samples_leaf, SAMPLED_LEAST * len(x) / BINNED if len(x) > BINNED else 1)
    rare = (~np.isnan(x)).sum(axis=0) < least
    if rare.any():
        x = x.copy()
        x[:, rare] = 0.0
    return x


def _labels(back: Back, contract: Contract, matrix: Matrix, target: Vector) -> npt.NDArray[Any]:
    """What is learned, of rows that only watch; where one cannot be bent, the nearest that can."""
    if contract.task == "classification":
        return target.astype(np.int64)
    bend, labels = BENDS[back.bend], target
    if back.per:
        labels = labels / matrix[:, list(contract.slots).index(back.per)]
    fine = bend.takes(labels)
    lowest = labels[fine].min(initial=np.inf)
    return np.asarray(bend.there(np.where(fine, labels, lowest), back.numbers))


@contextmanager
def _told(family: str, features: FeatureSpec) -> Iterator[None]:
    """Rows are complete where it is used, so what a library refuses is a value of a parameter."""
    try:
        yield
    except SlipwayError:
        raise
    except _refusals(family, features) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"model: {family} cannot be fitted with these params: {reason}") from error


def _refusals(family: str, features: FeatureSpec) -> tuple[type[Exception], ...]:
    """What the libraries in use raise for parameters that they do not take; of another package anything."""
    if family_of(family).own or features.own:
        return (Exception,)
    found: list[type[Exception]] = [ValueError, TypeError]
    for module, name in (("lightgbm.basic", "LightGBMError"), ("catboost", "CatBoostError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def predict(pipeline: Pipeline, contract: Contract, matrix: Matrix) -> Vector:
    """Predictions (n_rows,) in the target's unit, or probabilities (n_rows, n_classes) in the contract's order."""
    table = contract.frame(matrix)
    with threadpool_limits(limits=1):
        answer = pipeline.predict_proba(table) if contract.task == "classification" else pipeline.predict(table)
    return np.asarray(answer, dtype=np.float64)


def _complete(target: Vector, contract: Contract) -> None:
    if not len(target):
        raise DataError("there are no training rows: expected at least one after validation and split")
    present = np.unique(target)
    absent = [word for code, word in enumerate(contract.target.classes) if code not in present]
    if absent:
        raise DataError(
            f"no training row has {contract.target.name} {absent[0]!r}: expected rows of every class of the contract;"
            " widen the source or remove the class"
        )

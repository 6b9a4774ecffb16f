"""Fitting: from rows that were accepted to a Pipeline that predicts."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from components.data.tables import Vector
from components.modelling.boosters import flattened
from components.modelling.by_column import placed
from components.modelling.families import FAMILIES, NOTHING, ModelSpec
from components.modelling.features import FeatureSpec, build_pipeline
from components.modelling.search.rounds import Umpire, rounds_of, watching
from components.modelling.targets import Lesson, lesson_of
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError
from serving.scoring.around import Retargeted
from serving.scoring.bends import BENDS, STRAIGHT, Back

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
    return fit_watched(matrix, target, contract, features, model, seed, params, weights, None)[0]


def fit_watched(
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any],
    weights: Vector | None,
    watched: Umpire | None,
) -> tuple[Pipeline, int | None]:
    """As ``fit``; boosting stops when the *watched* rows get no better, and how many rounds it took is told."""
    _complete(target, contract)
    lesson = lesson_of(model, contract, matrix, target, weights)
    fitting = _Fitting(matrix, contract, features, model, seed, params, lesson)
    with threadpool_limits(limits=1):
        pipeline, rounds = fitting.on(slice(None), watched)
        if lesson.back == STRAIGHT:
            return pipeline, rounds
        back = fitting.counting(rounds).smeared() if model.smearing else lesson.back
    return Pipeline([("model", Retargeted(pipeline, back.bend, back.numbers, back.per))]), rounds


@dataclass(frozen=True)
class _Fitting:
    """One recipe and the rows it is for."""

    matrix: Matrix
    contract: Contract
    features: FeatureSpec
    model: ModelSpec
    seed: int
    params: Mapping[str, Any]
    lesson: Lesson

    def counting(self, rounds: int | None) -> "_Fitting":
        """The same with so many rounds."""
        name = FAMILIES[self.model.family].rounds
        return self if rounds is None or not name else replace(self, params={**self.params, name: rounds})

    def on(self, rows: npt.NDArray[Any] | slice, watched: Umpire | None = None) -> tuple[Pipeline, int | None]:
        """A pipeline fitted on *rows*, with an estimator that a bundle can hold, and its rounds."""
        pipeline = build_pipeline(self.contract, self.features, self.model, self.seed, self.params)
        try:
            return self._fitted(pipeline, rows, watched)
        except _refusals() as error:  # the rows are complete here, so what is refused is a value of a parameter
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"model: {self.model.family} cannot be fitted with these params: {reason}") from error

    def _fitted(
        self, pipeline: Pipeline, rows: npt.NDArray[Any] | slice, watched: Umpire | None
    ) -> tuple[Pipeline, int | None]:
        head, (name, estimator), family = pipeline[:-1], pipeline.steps[-1], FAMILIES[self.model.family]
        x = head.fit_transform(self.contract.frame(self.matrix[rows]), self.lesson.labels[rows])
        by_place = placed(self.model.family, {**self.model.params, **self.params}, head)
        told: dict[str, Any] = {} if self.lesson.weights is None else {"sample_weight": self.lesson.weights[rows]}
        if family.sets_at_fit and family.sets in by_place:
            told[family.sets] = by_place.pop(family.sets)
        rounds = None
        if watched is None or not family.rounds:
            estimator.set_params(**by_place).fit(x, self.lesson.labels[rows], **told)
        else:
            seen, labels = head.transform(self.contract.frame(watched.matrix)), self._bent(watched)
            told |= watching(estimator, seen, labels, watched.over)
            estimator.set_params(**by_place).fit(x, self.lesson.labels[rows], **told)
            rounds = rounds_of(estimator, seen, labels)
        pipeline.steps[-1] = (name, flattened(estimator))
        return pipeline, rounds

    def _bent(self, watched: Umpire) -> npt.NDArray[Any]:
        """The labels of *watched* rows; where one cannot be bent, the nearest that can."""
        if self.contract.task == "classification":
            return watched.target.astype(np.int64)
        bend, back, labels = BENDS[self.lesson.back.bend], self.lesson.back, watched.target
        if back.per:
            labels = labels / watched.matrix[:, list(self.contract.slots).index(back.per)]
        fine = bend.takes(labels)
        lowest = labels[fine].min(initial=np.inf)
        return np.asarray(bend.there(np.where(fine, labels, lowest), back.numbers))

    def smeared(self) -> Back:
        """The way back with what rows that a fit has not seen lie off it."""
        place = np.arange(len(self.matrix)) % SMEARING_DEALS
        if len(place) < SMEARING_DEALS:
            raise DataError(f"model.smearing: needs at least {SMEARING_DEALS} training rows, seen {len(place)}")
        residuals, back = np.empty(len(place)), self.lesson.back
        for deal in range(SMEARING_DEALS):
            out = place == deal
            said = self.on(~out)[0].predict(self.contract.frame(self.matrix[out]))
            residuals[out] = self.lesson.labels[out] - said
        smear = BENDS[back.bend].smear
        assert smear is not None  # noqa: S101 - ModelSpec refuses the others
        return Back(back.bend, smear(back.numbers, residuals, self.lesson.weights), back.per)


def _refusals() -> tuple[type[Exception], ...]:
    """What the libraries in use raise for parameters that they do not take."""
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

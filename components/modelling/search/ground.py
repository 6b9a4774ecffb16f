"""What every trial of a search stands on: the rows, how they are cut, and by what it is judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl

from components.data.split import SplitPolicy
from components.data.tables import Vector, matrix_and_target
from components.judging import metrics
from components.judging.metrics import Metric
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.search.folds import Fold, choose_folds
from components.modelling.targets import row_weights
from components.modelling.training import said_of
from serving.contract import Contract, Matrix


@dataclass(frozen=True)
class Ground:
    """Coded rows with their targets, and what the project asks for.

    Attributes:
        validation: the words for ``folds``.
        weights: as ``row_weights`` gives them.
    """

    matrix: Matrix
    target: Vector
    contract: Contract
    features: FeatureSpec
    model: ModelSpec
    seed: int
    metric: Metric
    folds: Sequence[Fold]
    validation: str = ""
    weights: Vector | None = None

    @classmethod
    def of(
        cls,
        table: pl.DataFrame,
        contract: Contract,
        features: FeatureSpec,
        model: ModelSpec,
        metric: str | None,
        policy: SplitPolicy,
        seed: int,
    ) -> Self:
        """Of the training rows of *table*, judged by the *metric* of that name, or by the task's leading one.

        Raises:
            ConfigError: too few rows.
        """
        judge = metrics.get(metric) if metric else metrics.leading(contract.task)
        matrix, target = matrix_and_target(table, contract)
        folds, validation = choose_folds(table, target, policy, contract, seed)
        weights = row_weights(model, table, contract)
        return cls(matrix, target, contract, features, model, seed, judge, folds, validation, weights)

    def said(self, fold: Fold, model: ModelSpec, over: Callable[[], bool] | None = None) -> tuple[Vector, int | None]:
        """As ``said_of``."""
        given = (fold, self.matrix, self.target, self.contract, self.features)
        return said_of(*given, model, self.seed, self.weights, over)

    def value(self, said: Sequence[Vector]) -> float:
        """The mean of the metric over the folds, of what was *said* of each one's rows; NaN where one has none."""
        task, name = self.contract.task, self.metric.name
        parts = zip(self.folds, said, strict=True)
        return float(np.mean([metrics.compute(task, self.target[fold.held], one)[name] for fold, one in parts]))

    def loss(self, said: Sequence[Vector]) -> float:
        """Of the same; infinite where it has none."""
        value = self.value(said)
        return self.metric.loss(value) if np.isfinite(value) else np.inf

    def told(self) -> dict[str, Any]:
        """What a ``Tuning`` says of it."""
        return {
            "metric": self.metric.name,
            "direction": self.metric.direction,
            "unit": self.contract.target.unit,
            "validation": self.validation,
        }

"""What both forms of a model have in common, and scikit-learn as one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from serving.contract import Contract, Matrix
from serving.errors import DataError, GateRefusal

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Form = Literal["trees", "linear", "sklearn"]
Predictions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Declined:
    """A pipeline without a fast form; ``reason`` is the phrase a status page shows."""

    reason: str


@dataclass(frozen=True)
class SklearnScorer:
    """The pipeline itself, called the way it was fitted.

    Attributes:
        form: which implementation answers.
        reason: why it is that one.
    """

    pipeline: "Pipeline"
    contract: Contract
    reason: str
    form: Form = "sklearn"

    def score(self, matrix: Matrix) -> Predictions:
        """Predictions of a coded matrix: (n_rows,) in the target's unit for regression, (n_rows, n_classes)
        probabilities in the contract's class order for classification.

        Raises:
            DataError: the model cannot take a row, such as a missing value where it needs a number.
        """
        table = self.contract.frame(matrix)
        with np.errstate(all="ignore"):
            try:
                if self.contract.task == "regression":
                    return np.asarray(self.pipeline.predict(table), dtype=np.float64)
                answer = self._probabilities(table)
            except ValueError as error:
                raise DataError(f"the model cannot take these rows: {error}") from error
        order = class_order(self.pipeline.classes_, self.contract)
        return np.ascontiguousarray(np.asarray(answer, dtype=np.float64)[:, order])

    def _probabilities(self, table: object) -> npt.NDArray[np.float64]:
        if not hasattr(self.pipeline, "predict_proba"):
            name = type(self.pipeline.steps[-1][1]).__name__
            raise GateRefusal(
                f"{name} gives no probabilities, of which a classifier's answers are made; train one that does, such as"
                " LogisticRegression, or SGDClassifier(loss='log_loss')"
            )
        answer: npt.NDArray[np.float64] = self.pipeline.predict_proba(table)
        return answer


def class_order(classes: npt.NDArray[np.generic], contract: Contract) -> list[int]:
    """Where each class of the contract stands among a classifier's *classes*: its words, positions, or whole numbers.

    Raises:
        GateRefusal: the classifier knows other classes than the contract.
    """
    known, words = classes.tolist(), contract.target.classes
    for wanted in (list(words), list(range(len(words))), list(contract.target.labels)):
        if len(known) == len(wanted) and set(known) == set(wanted):
            return [known.index(one) for one in wanted]
    raise GateRefusal(
        f"the model knows the classes {known[:10]}, the contract {list(contract.target.classes)}; train it on rows of "
        "every class"
    )


def weighted_mean(answers: Sequence[Predictions], weights: Sequence[float]) -> Predictions:
    """The sum of *answers*, all of one shape, each times its weight."""
    total = np.asarray(answers[0], np.float64) * float(weights[0])
    for answer, weight in zip(answers[1:], weights[1:], strict=True):
        total += np.asarray(answer, np.float64) * float(weight)
    return total

"""How well a pupil follows its teacher, beside the truth."""

from dataclasses import dataclass

import numpy as np

from components.data.tables import Vector
from components.judging import metrics
from components.judging.metrics import Metric
from serving.contract import Contract
from serving.pages.words import percent


@dataclass(frozen=True)
class Followed:
    """What both say of rows that the pupil has not seen.

    Attributes:
        metric: the task's leading one, whose best value is 0.
        teacher, pupil: its values beside the truth.
        agreement: what they say of each other.
        at_most: the share by which the pupil's may be above its teacher's.
    """

    metric: Metric
    unit: str
    teacher: float
    pupil: float
    agreement: str
    at_most: float

    @classmethod
    def of(cls, truth: Vector, teacher: Vector, pupil: Vector, contract: Contract, at_most: float) -> "Followed":
        """Of the predictions of both for rows with these truths."""
        metric, unit = metrics.leading(contract.task), contract.target.unit
        if contract.task == "regression":
            agreement = f"{metric.show(metrics.rmse(teacher, pupil), unit)} apart ({metric.label})"
        else:
            agreement = f"of the same class in {percent(float(np.mean(teacher.argmax(1) == pupil.argmax(1))))} of rows"
        return cls(metric, unit, metric.of(truth, teacher), metric.of(truth, pupil), agreement, at_most)

    @property
    def holds(self) -> bool:
        return self.pupil <= self.teacher * (1 + self.at_most)

    @property
    def sentence(self) -> str:
        """Both figures, the loss given away, and whether that is too much."""
        mine, theirs = (self.metric.show(value, self.unit) for value in (self.pupil, self.teacher))
        given = self.pupil - self.teacher
        lost = f", {percent(abs(given) / self.teacher)} {'more' if given > 0 else 'less'}" if self.teacher else ""
        kept = "and" if self.holds else "refused, since"
        return (
            f"{self.metric.label} {mine} where its teacher has {theirs}{lost}, {kept} {percent(self.at_most)} more "
            f"may be given away; both are {self.agreement}"
        )

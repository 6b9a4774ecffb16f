"""The reference profile of a model: fixed-bin counts of inputs, prediction and error on its training and holdout rows.

Counts of equal bins add up, so a profile of one million rows is the sum of the profiles of its parts, and serving pods
need to keep nothing but counts for drift to be measured against it.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from serving.contract import Frozen


class NumericHistogram(Frozen):
    """Counts of numbers between ``edges``.

    Attributes:
        edges: n ascending inner bin edges; a value x falls in bin ``searchsorted(edges, x, side="left")``, so that
            there are n + 1 bins, the first open to the left and the last open to the right.
        counts: n + 1 counts.
    """

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> "NumericHistogram":
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges make {len(self.edges) + 1} bins, seen {len(self.counts)} counts")
        return self

    def __add__(self, other: "NumericHistogram") -> "NumericHistogram":
        counts = tuple(here + there for here, there in zip(self.counts, other.counts, strict=True))
        return self.model_copy(update={"counts": counts, "missing": self.missing + other.missing})


class CategoryHistogram(Frozen):
    """Counts per category of ``values``, in the contract's order, and of categories outside of them."""

    kind: Literal["category"] = "category"
    values: tuple[str, ...]
    counts: tuple[int, ...]
    unknown: Annotated[int, Field(ge=0)] = 0
    missing: Annotated[int, Field(ge=0)] = 0

    def __add__(self, other: "CategoryHistogram") -> "CategoryHistogram":
        counts = tuple(here + there for here, there in zip(self.counts, other.counts, strict=True))
        more = {"unknown": self.unknown + other.unknown, "missing": self.missing + other.missing}
        return self.model_copy(update={"counts": counts, **more})


Histogram = Annotated[NumericHistogram | CategoryHistogram, Field(discriminator="kind")]


class Profile(Frozen):
    """What the model saw: training rows for ``inputs``, holdout rows for ``prediction`` and ``error``.

    Attributes:
        prediction: of the predicted number, or of the probability of the positive (last) class.
        error: of prediction minus truth, in the target's unit; None for classification.
        metrics: the holdout metrics, by name.
    """

    rows: int
    inputs: dict[str, Histogram]
    prediction: NumericHistogram
    error: NumericHistogram | None = None
    metrics: dict[str, float] = Field(default_factory=dict)

    def __add__(self, other: "Profile") -> "Profile":
        """Rows of both, which were counted into the same bins; metrics do not add up and are left out."""
        here: dict[str, Any] = self.inputs  # of one kind of histogram for each name, on both sides
        inputs = {name: seen + other.inputs[name] for name, seen in here.items()}
        error = self.error + other.error if self.error and other.error else None
        return Profile(
            rows=self.rows + other.rows, inputs=inputs, prediction=self.prediction + other.prediction, error=error
        )

    @property
    def without_prediction(self) -> "Profile":
        none = self.prediction.model_copy(update={"counts": (0,) * len(self.prediction.counts), "missing": 0})
        return self.model_copy(update={"prediction": none})


def population_stability(current: Any, reference: Any) -> float:
    """Population stability index of two counts of equal bins, shape (bins,): the sum of (p - q) ln(p / q).

    Each count is raised by a half so that none is empty; 0 for equal shares and without bins.
    """
    p, q = (np.asarray(counts, dtype=float) + 0.5 for counts in (current, reference))
    if p.size == 0:
        return 0.0
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))

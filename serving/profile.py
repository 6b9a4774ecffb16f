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


class CategoryHistogram(Frozen):
    """Counts per category of ``values``, in the contract's order, and of categories outside of them."""

    kind: Literal["category"] = "category"
    values: tuple[str, ...]
    counts: tuple[int, ...]
    unknown: Annotated[int, Field(ge=0)] = 0
    missing: Annotated[int, Field(ge=0)] = 0


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


def population_stability(current: Any, reference: Any) -> float:
    """Population stability index of two counts of equal bins, shape (bins,): the sum of (p - q) ln(p / q).

    Each count is raised by a half so that none is empty; 0 for equal shares and without bins.
    """
    p, q = (np.asarray(counts, dtype=float) + 0.5 for counts in (current, reference))
    if p.size == 0:
        return 0.0
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((p - q) * np.log(p / q)))

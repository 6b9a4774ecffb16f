"""The reference profile of a model: fixed-bin counts of inputs, prediction and error on its training and holdout rows.

Counts of equal bins add up, so a profile of one million rows is the sum of the profiles of its parts, and serving pods
need to keep nothing but counts for drift to be measured against it.
"""

from typing import Annotated, Literal

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

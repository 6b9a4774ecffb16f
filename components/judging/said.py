"""All that a model says of rows: predictions, and where it has them the classes it answers and its intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.judgement import Judgement

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What is said of n rows; indexing takes some of them.

    Attributes:
        values: (n_rows,) numbers or (n_rows, n_classes) probabilities.
        decided: (n_rows,) positions of the classes that are answered; None where it is the likeliest.
        bounds: (n_rows, 2) ends of the intervals; None where there are none.
    """

    values: Values
    decided: npt.NDArray[np.intp] | None = None
    bounds: Values | None = None

    @classmethod
    def of(cls, values: "Values | Said", judgement: Judgement | None = None) -> "Said":
        """What a model of that *judgement* says that predicts *values*."""
        if isinstance(values, Said):
            return values
        if judgement is None:
            return cls(values)
        decided = judgement.decided(values) if values.ndim == 2 and judgement.threshold is not None else None
        widths = judgement.widths if values.ndim == 1 else None
        return cls(values, decided, widths.bounds(values) if widths else None)

    def __getitem__(self, rows: Any) -> "Said":
        more = (None if each is None else each[rows] for each in (self.decided, self.bounds))
        return Said(self.values[rows], *more)

    @property
    def answered(self) -> Values:
        """Probabilities in which the class that is answered is the likeliest: ones and zeros, or as they are."""
        return self.values if self.decided is None else np.eye(self.values.shape[1])[self.decided]

"""All that a model says of rows: predictions, and where it has them the classes it answers and its intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.bundle.judgement import Judgement, Table

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What is said of n rows; indexing takes some of them.

    Attributes:
        values: (n_rows,) numbers or (n_rows, n_classes) probabilities.
        decided: (n_rows,) positions of the classes that are answered; None where it is the likeliest.
        bounds: (n_rows, 2) ends of the intervals; None where there are none.
        costs: what each true class (outer) costs that is answered as another (inner); empty where nobody said.
    """

    values: Values
    decided: npt.NDArray[np.intp] | None = None
    bounds: Values | None = None
    costs: Table = ()

    @classmethod
    def of(cls, values: "Values | Said", judgement: Judgement | None = None) -> "Said":
        """What a model of that *judgement* says that predicts *values*."""
        if isinstance(values, Said):
            return values
        if judgement is None:
            return cls(values)
        if values.ndim == 2:
            plain = judgement.threshold is None and not judgement.costs
            return cls(values, None if plain else judgement.decided(values), None, judgement.costs)
        return cls(values, None, judgement.widths.bounds(values) if judgement.widths else None)

    def __getitem__(self, rows: Any) -> "Said":
        decided, bounds = (None if each is None else each[rows] for each in (self.decided, self.bounds))
        return Said(self.values[rows], decided, bounds, self.costs)

    @property
    def answered(self) -> Values:
        """Probabilities in which the class that is answered is the likeliest: ones and zeros, or as they are."""
        return self.values if self.decided is None else np.eye(self.values.shape[1])[self.decided]

    @property
    def charges(self) -> Values | None:
        """What each answer costs, (n_rows, n_classes), should that class be the true one; None where nobody said."""
        if not self.costs:
            return None
        chosen = np.argmax(self.values, axis=1) if self.decided is None else self.decided
        return np.ascontiguousarray(np.array(self.costs).T[chosen])

    @property
    def unsaid(self) -> frozenset[str]:
        """Which of its attributes are missing; metrics of these are unknown."""
        found = {"bounds": self.bounds is not None, "charges": bool(self.costs)}
        return frozenset(name for name, known in found.items() if not known)

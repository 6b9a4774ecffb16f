"""One way to cut the training rows, and the features that trials made of them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline

MOST_KEPT = 20_000_000  # cells of one kind of features: 160 MB

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Features:
    """What a fitted *head* of a pipeline makes of the rows that are learned and of those held out."""

    head: Pipeline
    rows: Any
    held: Any


@dataclass(frozen=True)
class Fold:
    """Rows to learn from, and rows *held* out to judge what was learned.

    Trials of a search differ in their estimators; features are made in two or three ways, and of many columns cost as
    much as the fit. Two threads may make the same, which changes nothing.
    """

    rows: Rows
    held: Rows
    _kept: dict[Hashable, Features] = field(default_factory=dict, repr=False, compare=False)

    def features(self, way: Hashable, make: Callable[[], Features]) -> Features:
        """Those made in this *way*."""
        found = self._kept.get(way)
        if found is None:
            found = make()
            if found.rows.size + found.held.size <= MOST_KEPT:
                self._kept[way] = found
        return found

"""Contributions of columns beside the predictions of a batch."""

from functools import cached_property

import numpy as np

from serving.bundle.bundle import Bundle
from serving.contract import Contract, Matrix
from serving.explaining.api import Explainer, Numbers
from serving.explaining.choice import explainer
from serving.scoring.api import Predictions

OF, BASE, BECAUSE = "explained", "base", "because_"


def reason_names(contract: Contract) -> tuple[str, ...]:
    """The columns of numbers: the mean of the golden rows, and a contribution for each slot."""
    return (BASE, *(BECAUSE + name for name in contract.slots))


class Reasoner:
    """A scorer of a *bundle* whose rows have their scores and, behind them, the numbers of ``reason_names``."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._classes = bundle, len(bundle.contract.target.classes)
        self._scores = max(self._classes, 1)
        self.width = self._scores + len(reason_names(bundle.contract))

    @cached_property
    def _told(self) -> Explainer:
        return explainer(self._bundle.scorer, self._bundle.contract, self._bundle.golden)

    def score(self, matrix: Matrix) -> Predictions:
        """(n_rows, width) of a coded matrix; raises as the scorer does."""
        scores = self._bundle.scorer.score(matrix)
        found = self._told.explained(matrix, self._bundle.judgement.of_interest(scores, self._classes))
        return np.column_stack([scores, found.base, found.contributions])

    def scores(self, values: Numbers) -> Predictions:
        """The scores alone of rows (n_rows, width), as the bundle's scorer gives them."""
        kept = values[:, : self._scores]
        return np.ascontiguousarray(kept if self._classes else kept[:, 0])

    def numbers(self, values: Numbers) -> Numbers:
        """(n_rows, n_names) in the order of ``reason_names``."""
        return values[:, self._scores :]

    def words(self, values: Numbers) -> list[str]:
        """What the numbers of each row are numbers of; rows of NaN have no meaning."""
        known = np.nan_to_num(values[:, : self._scores])
        classes = self._bundle.judgement.of_interest(known, self._classes)
        names = {code: self._told.of(code) for code in np.unique(classes).tolist()}
        return [names[code] for code in classes.tolist()]

"""How much each column moves a model's predictions: mean absolute Shapley values on held-out rows."""

import numpy as np

from components.judging.importance import Contributions
from serving.bundle.bundle import Bundle
from serving.contract import Matrix
from serving.explaining.api import Numbers
from serving.explaining.choice import explainer
from serving.explaining.sampled import Sampled

EXACT_ROWS, SAMPLED_ROWS = 100, 25  # explained: a sampled row may cost many times as much as an exact one
FEWEST, CELLS = 5, 100_000_000  # sampled rows that say anything, and what may be scored for them in all
NAMED = 3  # of several classes, in words


def contributions(bundle: Bundle, matrix: Matrix, scores: Numbers) -> Contributions | None:
    """Of rows of a coded *matrix*, at least one, and what the bundle's scorer says of them; None of a model without a
    fast form and with so many columns that it would take minutes."""
    told = explainer(bundle.scorer, bundle.contract, bundle.golden)
    most = EXACT_ROWS
    if isinstance(told, Sampled):
        most = min(SAMPLED_ROWS, CELLS // told.cells)
        if most < FEWEST:
            return None
    most = min(most, len(matrix))
    rows = np.unique(np.linspace(0, len(matrix) - 1, most).round().astype(np.intp))
    classes = bundle.judgement.of_interest(scores[rows], len(bundle.contract.target.classes))
    size = np.abs(told.explained(np.ascontiguousarray(matrix[rows]), classes).contributions).mean(axis=0)
    names = [told.of(code) for code in np.unique(classes).tolist()]
    of = " or ".join(names[:NAMED]) + (" and so on" if len(names) > NAMED else "")
    slots = list(bundle.contract.slots)
    moved = {slots[place]: float(size[place]) for place in np.argsort(-size, kind="stable")}
    return Contributions(method=told.method, of=of, rows=len(rows), moved=moved)

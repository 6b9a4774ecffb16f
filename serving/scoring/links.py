"""From an estimator's sums to its predictions, by the calls its library makes.

scikit-learn's exponentials stay in numpy and scipy: only the same function rounds the same way.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from serving.scoring import scalar_links

Sums = npt.NDArray[np.float64]
ULPS = 4  # units in the last place that a rounded sum or exponential may differ


def _logistic(raw: Sums) -> Sums:
    from scipy.special import expit  # half a second that only binary classifiers need

    answer = np.empty((len(raw), 2))
    answer[:, 1] = expit(raw[:, 0])
    answer[:, 0] = 1 - answer[:, 1]
    return answer


def _softmax(raw: Sums) -> Sums:
    answer = raw - raw.max(axis=1, keepdims=True)
    np.exp(answer, out=answer)
    total = answer.sum(axis=1, keepdims=True)
    return np.asarray(answer / total)


def _softmax_by_columns(raw: Sums) -> Sums:
    """Like ``softmax``, adding class after class, as numpy does for histogram gradient boosting's batches.

    For a single row of eight classes or more scikit-learn adds in another order; here a row's result does not depend on
    the rows beside it.
    """
    answer = raw - raw.max(axis=1, keepdims=True)
    np.exp(answer, out=answer)
    total = answer[:, 0].copy()
    for column in range(1, answer.shape[1]):
        total += answer[:, column]
    return np.asarray(answer / total[:, None])


LINKS: Mapping[str, Callable[[Sums], Sums]] = MappingProxyType(
    {
        "identity": lambda raw: raw[:, 0],
        "exponential": lambda raw: np.asarray(np.exp(raw[:, 0])),
        "shares": lambda raw: raw,
        "logistic": _logistic,
        "half_logistic": lambda raw: _logistic(2 * raw),
        "softmax": _softmax,
        "softmax_by_columns": _softmax_by_columns,
        "scalar_exponential": scalar_links.exponential,
        "scalar_logistic": scalar_links.logistic,
        "scalar_softmax": scalar_links.softmax,
        "single_exponential": partial(scalar_links.exponential, single=True),
        "single_logistic": partial(scalar_links.logistic, single=True),
        "single_softmax": partial(scalar_links.softmax, single=True),
    }
)
ROUNDED = frozenset(LINKS) - {"identity", "shares"}  # another processor's exponential may differ in the last place


def outputs_of(link: str, n_outputs: int) -> int | None:
    """How many columns of probabilities *link* gives for so many sums; 0 for one number per row, None for a misfit."""
    if link in ("identity", "exponential", "scalar_exponential", "single_exponential"):
        return 0 if n_outputs == 1 else None
    if link.endswith("logistic"):
        return 2 if n_outputs == 1 else None
    return n_outputs if link in LINKS else None

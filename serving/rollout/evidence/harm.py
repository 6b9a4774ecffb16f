"""E-processes for two arms whose requests were assigned at random.

Given that an event happened, it came from the canary with chance theta(w, r) = w r / (w r + 1 - w), where w is the
canary's weight and r the ratio of the two rates, whatever the base rate is or how it drifts: the conditioning of
Lindon, Malek, NeurIPS 2022 (arXiv 2011.03567). Under r <= r0 the product of likelihood ratios of a larger r against r0
is a nonnegative supermartingale; averages of such products are one for any dependence (Vovk, Wang, Ann. Stat. 49(3),
2021), and Ville's inequality bounds the chance of ever reaching 1/alpha by alpha. Functions return logarithms.
"""

import math
from typing import Any

import numpy as np
from scipy.special import betaln

from serving.rollout.evidence.bounds import Floats, log_sum_exp

RATIOS: Floats = np.array([1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0])
_LOG_PI = -math.log(len(RATIOS))
SRM_THRESHOLD = 1000.0  # E at which no other figure is trusted
SRM_SCALE = 1000.0  # prior observations behind the intended split


def increments(weights: Any, tolerated: Any) -> tuple[Floats, Floats]:
    """Log likelihood ratio of one event on the canary and of one on stable.

    Args:
        weights: canary's share in [0, 1], shape (epochs,).
        tolerated: r0, the ratio of rates that is not yet harm, shape (...).

    Returns:
        Two arrays of shape (epochs, len(RATIOS), ...).
    """
    r0 = np.asarray(tolerated, dtype=float)
    ones = (1,) * r0.ndim
    w, ratios = np.asarray(weights, dtype=float).reshape(-1, 1, *ones), RATIOS.reshape(-1, *ones)
    shrink = np.log(w * r0 + 1 - w) - np.log(w * r0 * ratios + 1 - w)
    return np.log(ratios) + shrink, shrink


def copy_shares(steps: int) -> Floats:
    """Weights of the copies of a test that start at each of *steps* steps: half on the first, the rest even.

    A mixture over start times is still an e-process, and a history full of stable's own errors cannot dilute a
    regression that begins late.
    """
    if steps < 2:
        return np.ones(1)
    return np.concatenate([[0.5], np.full(steps - 1, 0.5 / (steps - 1))])


def log_harm(weights: Any, steps: Any, canary: Any, stable: Any, tolerated: Any, planned: int) -> Floats:
    """log E_j of each class of events: evidence that the canary's rate is above *tolerated* times stable's.

    Args:
        weights: canary's share in [0, 1] per epoch, shape (epochs,).
        steps: number of the step each epoch belongs to, shape (epochs,), 0 first.
        canary, stable: events per epoch, shape (..., epochs).
        tolerated: ratio of the rates that is not yet harm; broadcasts against the axes before the epochs.
        planned: steps in the whole rollout, among which the copies share the weight.

    Returns:
        Shape (...); 0 without events.
    """
    kc, ks = (np.ascontiguousarray(np.moveaxis(np.asarray(n, dtype=float), -1, 0))[:, None] for n in (canary, stable))
    r0 = np.asarray(tolerated, dtype=float)
    up, down = increments(weights, r0.reshape((1,) * (kc.ndim - 2 - r0.ndim) + r0.shape))
    started = np.asarray(steps)[None, :] >= np.arange(planned)[:, None]
    # With epochs in front einsum adds them one after the other, whatever the number of runs: no digit depends on it.
    per_copy = log_sum_exp(np.einsum("je,e...->j...", started.astype(float), kc * up + ks * down), axis=1) + _LOG_PI
    return log_sum_exp(np.ascontiguousarray(np.moveaxis(per_copy, 0, -1)) + np.log(copy_shares(planned)))


def log_combined(logs: Any, shares: Any) -> Floats:
    """log of the average of e-values weighted by *shares*, which need not sum to 1.

    Args:
        logs: shape (..., tests), at least one test.
        shares: shape (tests,).
    """
    weights = np.asarray(shares, dtype=float)
    return log_sum_exp(np.asarray(logs, dtype=float) + np.log(weights / weights.sum()))


def log_shift(weights: Any, canary: Any, stable: Any, tolerated: float) -> Floats:
    """log E of a changed distribution over bins: each bin tested both ways, then averaged.

    Args:
        canary, stable: requests per bin and epoch, shape (..., bins, epochs), at least one bin.
        tolerated: ratio of a bin's shares, either way, that is not yet a shift.
    """
    w = np.asarray(weights, dtype=float)
    steps = np.zeros(len(w), dtype=int)
    more = log_harm(w, steps, canary, stable, tolerated, 1)
    fewer = log_harm(1 - w, steps, stable, canary, tolerated, 1)
    both = np.concatenate([more, fewer], axis=-1)
    return log_sum_exp(both) - math.log(both.shape[-1])


def log_srm(weight: Any, canary: Any, total: Any) -> Floats:
    """log E that requests are not split as intended; a Beta(1000 w, 1000 (1 - w)) mixture against w.

    Lindon, Malek, NeurIPS 2022; why a mismatch makes every other figure worthless: Fabijan et al., KDD 2019.

    Args:
        weight: intended share of the canary in (0, 1); at 0 and 1 the answer is 0.
        canary, total: requests of the canary and of both arms.
    """
    w, k, n = (np.asarray(value, dtype=float) for value in (weight, canary, total))
    inside = (w > 0) & (w < 1)
    safe = np.where(inside, w, 0.5)
    a, b = SRM_SCALE * safe, SRM_SCALE * (1 - safe)
    log_e = betaln(a + k, b + n - k) - betaln(a, b) - k * np.log(safe) - (n - k) * np.log1p(-safe)
    return np.asarray(np.where(inside, log_e, 0.0))

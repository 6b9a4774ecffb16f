"""Exact where the fast form allows it, sampled elsewhere."""

from typing import Any

from serving.bundle.judgement import CalibratedScorer
from serving.contract import Contract, Matrix
from serving.explaining.api import BACKGROUND, Explainer
from serving.explaining.exact import NotExact, exact
from serving.explaining.sampled import Sampled
from serving.scoring.blend import BlendedScorer
from serving.scoring.compile import CompiledScorer


def explainer(scorer: Any, contract: Contract, golden: Matrix) -> Explainer:
    """What explains *scorer*, any that scores a coded matrix, against the first of the *golden* rows, at least one."""
    background = golden[:BACKGROUND]
    inner = scorer.inner if isinstance(scorer, CalibratedScorer) else scorer
    if not isinstance(inner, CompiledScorer | BlendedScorer):
        return Sampled(scorer.score, contract, background, "a model without a fast form")
    try:
        return exact(inner, background, "" if inner is scorer else ", before calibration")
    except NotExact as reason:
        return Sampled(scorer.score, contract, background, str(reason))

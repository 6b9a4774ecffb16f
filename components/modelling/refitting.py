"""What is served, once a candidate was accepted: that one, or its recipe on all rows, the held-out ones included.

A model that has seen all rows cannot be judged on any of them. So the candidate is judged as it is, its twin is fitted
by the same recipe and the same number of rounds, and carries the candidate along: whoever compares a later candidate
with this version asks the one that has not seen the held-out rows.
"""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from components.data import snapshots
from components.data.tables import Vector, matrix_and_target
from components.judging import metrics
from components.judging.evaluation import evaluate
from components.modelling.model_card import card
from components.modelling.profiles import profile
from components.modelling.recipes import Recipe
from components.modelling.training import predict
from components.steps.keys import signing_key, trusted_keys
from components.steps.telling import SHORT, tell
from serving.bundle.bundle import open_bundle, write_bundle
from serving.bundle.files import JUDGED
from serving.contract import Contract
from serving.errors import GateRefusal

WORSE = 0.05  # by which a model of all rows may be worse on those that it has seen and its twin had not


def refit(recipe: Recipe, key: str, judged: str, train: str, holdout: str, served: str) -> str:
    """Write to *served* the bundle that goes to traffic, once that in *judged* was accepted; returns its digest.

    Raises:
        GateRefusal: the model of all rows is worse on the held-out ones, which it has seen, than that which had not.
    """
    candidate = open_bundle(Path(judged), trusted_keys(key))
    if not recipe.spec.refits:
        shutil.copytree(judged, served, dirs_exist_ok=True)
        return candidate.digest
    rules, held = recipe.rules, snapshots.read(Path(holdout))
    pipeline, matrix, target = recipe.fitted(pl.concat([snapshots.read(Path(train)), held]))
    unseen, truth = matrix_and_target(held, rules)
    told = candidate.scorer.score(unseen)
    moved = _check(predict(pipeline, rules, unseen), told, truth, rules)
    facts = {
        **recipe.facts(len(target)),
        "refit": "all",
        "judged": candidate.digest,
        "judged_rows": len(target) - len(truth),
    }
    evaluation = evaluate(told, truth, unseen, rules)
    digest = write_bundle(
        Path(served),
        pipeline=pipeline,
        contract=rules,
        profile=profile(matrix, rules, told, truth, evaluation.metrics),
        golden=candidate.golden,
        card=card(recipe.name, recipe.settings, rules, evaluation, facts),
        provenance=facts,
        key=signing_key(key),
        judgement=candidate.judgement,
    )
    shutil.copytree(judged, Path(served) / JUDGED)
    tell(f"fitted again on all {len(target):,} rows{moved}, bundle {digest[:SHORT]}")
    return digest


def _check(ours: Vector, twin: Vector, truth: Vector, contract: Contract) -> str:
    """How far the answers of both are from each other, in words."""
    leading = metrics.leading(contract.task)
    found = [metrics.compute(contract.task, truth, said)[leading.name] for said in (ours, twin)]
    after, before = map(leading.loss, found)
    if not after <= before + WORSE * abs(before):
        shown = [leading.show(value, contract.target.unit) for value in found]
        raise GateRefusal(
            f"the model of all rows has {leading.label} {shown[0]} on the held-out rows, which it has seen, and its "
            f"twin, which had not, {shown[1]}; expected it to be no worse: say model.refit: none"
        )
    off, scale = float(np.median(np.abs(ours - twin))), float(np.median(np.abs(twin)))
    return f", {off / scale:.1%} off its twin" if scale > 0 else ""

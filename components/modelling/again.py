"""A judged model's twin, fitted by the same recipe on all rows."""

from pathlib import Path

import numpy as np
import polars as pl

from components.data import snapshots
from components.data.tables import Vector, matrix_and_target
from components.judging import metrics
from components.judging.evaluation import evaluate as judge_predictions
from components.judging.said import Said
from components.modelling.model_card import card
from components.modelling.profiles import profile
from components.modelling.recipes import Recipe
from components.modelling.stages import golden_rows
from components.modelling.training import predict
from components.steps.keys import signing_key, trusted_keys
from serving.bundle.bundle import open_bundle, write_bundle
from serving.contract import Contract
from serving.errors import GateRefusal

WORSE = 0.05  # by which a model of all rows may be worse on those that it has seen and its twin had not


def fit_again(recipe: Recipe, key: str, judged: Path, train: Path, holdout: Path, served: Path) -> tuple[str, str]:
    """Write the bundle of all rows to *served*; its digest, and in words how many rows and how far off its twin.

    Raises:
        GateRefusal: it is worse on the held-out rows, which it has seen, than its twin in *judged*.
    """
    candidate = open_bundle(judged, trusted_keys(key))
    held = snapshots.read(holdout)
    known = recipe.material(pl.concat([snapshots.read(train), held]))
    rules, matrix, pipeline = known.contract, known.matrix, known.fitted()
    unseen, truth = matrix_and_target(held, rules)
    said = candidate.scorer.score(matrix_and_target(held, candidate.contract)[0])
    moved = _check(candidate.judgement.calibrated(predict(pipeline, rules, unseen)), said, truth, rules)
    twin = {"refit": "all", "judged": candidate.digest, "judged_rows": len(matrix) - len(truth)}
    facts = {**recipe.facts(len(matrix)), **twin}
    evaluation = judge_predictions(Said.of(said, candidate.judgement), truth, unseen, rules)
    digest = write_bundle(
        served,
        pipeline=pipeline,
        contract=rules,
        profile=profile(matrix, rules, said, truth, evaluation.metrics),
        golden=golden_rows(unseen),
        card=card(recipe.name, recipe.settings, rules, evaluation, facts, recipe.columns.columns),
        provenance=facts,
        key=signing_key(key),
        judgement=candidate.judgement,
    )
    return digest, f"fitted again on all {len(matrix):,} rows{moved}"


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

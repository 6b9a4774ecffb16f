"""The model stages on paths: what the doorways ``tune`` and ``train`` call."""

import json
from functools import partial
from pathlib import Path

import numpy as np

from components.data import snapshots
from components.data.split import SplitPolicy
from components.data.tables import learned_contract, matrix_and_target
from components.judging.evaluation import evaluate as judge_predictions
from components.judging.said import Said
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.model_card import card
from components.modelling.profiles import profile
from components.modelling.recipes import AUTO, Recipe
from components.modelling.saying import Says, said_besides
from components.modelling.search.auto import tune_families
from components.modelling.search.portfolio import missing
from components.modelling.search.progress import Progress
from components.modelling.search.tuning import Search
from components.modelling.search.tuning import tune as search_parameters
from components.modelling.training import predict
from components.steps.keys import signing_key
from components.steps.progress import beside
from components.steps.telling import SHORT, tell
from serving.bundle.bundle import write_bundle
from serving.bundle.files import SPLIT
from serving.contract import Contract, Matrix
from serving.files import whole_directory, write_text

GOLDEN_ROWS = 200


def tune(model: str, features: str, search: str, policy: str, contract: str, seed: int, train: str, trials: str) -> str:
    """Write the trials to the directory *trials*; returns the best parameters as JSON, ``{}`` for the defaults."""
    spec, wanted = ModelSpec.model_validate_json(model), Search.model_validate_json(search)
    rows, columns = snapshots.read(Path(train)), FeatureSpec.model_validate_json(features)
    rules = learned_contract(rows, Contract.read(Path(contract)))
    cut = SplitPolicy.model_validate_json(policy)
    find = tune_families if spec.family == AUTO else search_parameters
    progress = Progress(beside(trials))
    result = find(rows, rules, columns, spec, wanted, cut, seed, progress)
    with whole_directory(Path(trials)) as folder:
        write_text(folder / "trials.json", result.model_dump_json(indent=2))
    tell(result.sentence + (f", {progress.recalled} kept of an earlier attempt" if progress.recalled else ""))
    if spec.family == AUTO and (absent := missing()):
        tell(f"not tried, since not installed: {', '.join(absent)}; slipway[boosting,catboost] brings them")
    return json.dumps(result.best_params, sort_keys=True)


def train(recipe: Recipe, key: str, train: str, holdout: str, bundle: str) -> str:
    """Fit on the training rows and write the signed *bundle*; returns its digest.

    Holdout rows touch nothing but the reference profile of predictions and errors.
    """
    rows, rule = snapshots.read(Path(train)), (Path(train) / SPLIT).read_text(encoding="utf-8")
    known = recipe.material(rows)
    rules, matrix = known.contract, known.matrix
    unseen, truth = matrix_and_target(snapshots.read(Path(holdout)), rules)
    pipeline = known.fitted()
    judgement = said_besides(
        Says.model_validate_json(recipe.says),
        (rows, rules, rule, matrix, known.target),
        lambda some: partial(predict, known.fitted(some), rules),
    )
    prediction = judgement.calibrated(predict(pipeline, rules, unseen))
    evaluation = judge_predictions(Said.of(prediction, judgement), truth, unseen, rules)
    facts = recipe.facts(len(matrix))
    digest = write_bundle(
        Path(bundle),
        pipeline=pipeline,
        contract=rules,
        profile=profile(matrix, rules, prediction, truth, evaluation.metrics),
        golden=golden_rows(unseen),
        card=card(recipe.name, recipe.settings, rules, evaluation, facts, recipe.columns.columns),
        provenance=facts,
        key=signing_key(key),
        split=rule,
        judgement=judgement,
    )
    tell(f"{recipe.name}, {len(matrix):,} rows, bundle {digest[:SHORT]}")
    return digest


def golden_rows(matrix: Matrix) -> Matrix:
    """At most 200 rows, evenly spaced: what a server must answer exactly before it is trusted."""
    chosen = np.unique(np.linspace(0, len(matrix) - 1, min(GOLDEN_ROWS, len(matrix))).round().astype(np.intp))
    return np.ascontiguousarray(matrix[chosen])

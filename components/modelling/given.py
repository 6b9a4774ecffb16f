"""A model that somebody else has fitted, as a bundle: judged on rows of the contract and signed, no pickle any more."""

import pickle
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from components.data.tables import learned_contract, matrix_and_target
from components.data.validation import require, validate
from components.judging.evaluation import Evaluation, evaluate
from components.modelling.model_card import card
from components.modelling.profiles import profile
from components.modelling.stages import golden_rows
from serving.bundle.bundle import write_bundle
from serving.bundle.model_types import TRUSTED
from serving.bundle.signing import SigningKey
from serving.contract import Contract
from serving.errors import DataError
from serving.scoring.api import SklearnScorer


def read_model(path: Path) -> Pipeline:
    """The estimator in *path*, a file of skops, or else a pickle of joblib, which runs what it says as it is read.

    Raises:
        DataError: it holds no fitted estimator that can be read here.
    """
    import joblib  # only where a file of it is read
    import skops.io  # as above

    try:
        found = skops.io.load(path, trusted=sorted(TRUSTED)) if path.suffix == ".skops" else joblib.load(path)
    except (
        AttributeError,
        EOFError,
        ImportError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        pickle.PickleError,
    ) as error:
        raise DataError(
            f"{path} cannot be read as a model ({error}); write it with the scikit-learn of here"
        ) from error
    if not isinstance(found, BaseEstimator):
        raise DataError(f"{path}: expected an estimator or Pipeline of scikit-learn, got {type(found).__name__}")
    return found if isinstance(found, Pipeline) else Pipeline([("model", found)])


def bundle_given(
    pipeline: Pipeline,
    rows: pl.DataFrame,
    contract: Contract,
    as_of: datetime,
    directory: Path,
    facts: Mapping[str, Any],
    key: SigningKey,
) -> Evaluation:
    """Write the bundle of a fitted *pipeline* to *directory*; how good it is on *rows*, a table as it came.

    Raises:
        DataError: the rows do not keep the contract, or the pipeline takes other columns than the contract has.
        GateRefusal: no bundle can hold this pipeline.
    """
    _check_columns(pipeline, contract)
    _check_classes(pipeline, contract)
    accepted = validate(rows, contract, as_of)
    require(accepted.report, contract)
    contract = learned_contract(rows.filter(accepted.good), contract)
    matrix, target = matrix_and_target(rows.filter(accepted.good), contract)
    prediction = SklearnScorer(pipeline, contract, "fitted elsewhere").score(matrix)
    evaluation = evaluate(prediction, target, matrix, contract)
    told = {**facts, "rows": len(target)}
    family = type(pipeline.steps[-1][1]).__name__
    write_bundle(
        directory,
        pipeline=pipeline,
        contract=contract,
        profile=profile(matrix, contract, prediction, target, evaluation.metrics),
        golden=golden_rows(matrix),
        card=card(family, {}, contract, evaluation, told),
        provenance=told,
        key=key,
    )
    return evaluation


def _check_columns(pipeline: Pipeline, contract: Contract) -> None:
    """A model that was fitted on arrays takes columns by their place; one that knows names must know these."""
    names = [str(name) for name in np.asarray(getattr(pipeline, "feature_names_in_", tuple(contract.slots)))]
    count = int(getattr(pipeline, "n_features_in_", len(contract.slots)))
    if set(names) != set(contract.slots) or count != len(contract.slots):
        odd = sorted(set(names) ^ set(contract.slots)) or [f"{count} columns"]
        raise DataError(
            f"the model was fitted on {count} columns, the contract has {len(contract.slots)}; they differ in "
            f"{', '.join(odd[:10])}: name the columns of the contract as the model does"
        )
    if names != list(contract.slots):
        raise DataError(
            f"the model wants its columns in another order: put those of the contract as {', '.join(names)}"
        )


def _check_classes(pipeline: Pipeline, contract: Contract) -> None:
    """0 and 1 of our own models are positions in the contract; of another's they are what it was taught."""
    taught = [str(one) for one in np.asarray(getattr(pipeline, "classes_", ()))]
    places = [str(place) for place in range(len(taught))]
    if taught == places and set(contract.target.classes) == set(places) and list(contract.target.classes) != places:
        raise DataError(f"write the classes of the contract in the order {', '.join(places)}, as the model knows them")

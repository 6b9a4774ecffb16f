"""A model that somebody else has fitted, as a bundle: judged on rows of the contract and signed, no pickle any more."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from components.data.tables import learned_contract, matrix_and_target
from components.judging import suspicion
from components.judging.evaluation import Evaluation, evaluate
from components.modelling.given.fitted import Ready
from components.modelling.model_card import card
from components.modelling.profiles import profile
from components.modelling.stages import golden_rows
from serving.bundle.bundle import write_bundle
from serving.bundle.judgement import Judgement
from serving.bundle.signing import SigningKey
from serving.contract import Contract
from serving.scoring.api import SklearnScorer


def bundle_given(
    model: Callable[[Contract], Ready],
    known: pl.DataFrame | None,
    held: pl.DataFrame,
    contract: Contract,
    directory: Path,
    facts: Mapping[str, Any],
    key: SigningKey,
) -> tuple[Evaluation, tuple[str, ...]]:
    """Write the bundle of *model* to *directory*; how good it is on *held*, and what its file was taken for.

    Args:
        model: as of a contract whose categories are known.
        known: rows before those, which say what is usual; None: those themselves.
        held: rows that keep the contract.

    Raises:
        DataError: the model takes other columns than the contract has, or says something else here than where it was
            fitted.
        GateRefusal: no bundle can hold it.
    """
    before = held if known is None else known
    contract = learned_contract(before, contract)
    usual, truth = matrix_and_target(before, contract)
    matrix, target = matrix_and_target(held, contract)
    ready = model(contract)
    name = ready.name or type(ready.pipeline.steps[-1][1]).__name__
    ready.check(matrix, contract)
    prediction = SklearnScorer(ready.pipeline, contract, "fitted elsewhere").score(matrix)
    evaluation = evaluate(prediction, target, matrix, contract)
    learned = suspicion.learned(usual, truth, contract)
    if known is None:  # nothing is known of what it was fitted on, and these rows are no such
        learned = learned.model_copy(update={"sketch": ()})
    write_bundle(
        directory,
        pipeline=ready.pipeline,
        contract=contract,
        profile=profile(usual, contract, prediction, target, evaluation.metrics),
        golden=golden_rows(matrix),
        card=card(name, ready.settings, contract, evaluation, facts),
        provenance=facts,
        key=key,
        judgement=Judgement(learned=learned),
    )
    return evaluation, ready.notes

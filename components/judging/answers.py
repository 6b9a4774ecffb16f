"""What one model says of rows, beside the truth: asked once, judged in several ways."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from components.data.stable_hash import hash_rows
from components.data.tables import matrix_and_target
from components.judging import jackknife, suspicion
from components.judging.baselines import rivals
from components.judging.contributions import contributions
from components.judging.evaluation import Evaluation, evaluate
from components.judging.importance import DRAWN, courses, stretches, worths
from components.judging.jackknife import Blocks, Gain
from components.judging.metrics import Values
from components.judging.said import Said
from serving.bundle.bundle import Bundle
from serving.bundle.judgement import Judgement, Taught
from serving.contract import Contract, Matrix
from serving.files import sha256_bytes


@dataclass(frozen=True)
class Answers:
    """Predictions of a bundle for *rows*, by its own contract and scorer.

    Attributes:
        contract: with the classes that are told apart, and without key and event time.
        parts: the block of each row, by which it is told how sure a figure is.
    """

    rows: pl.DataFrame
    contract: Contract
    matrix: Matrix
    target: Values
    predicted: Said
    parts: Blocks

    def evaluation(self, slices: Sequence[str]) -> Evaluation:
        """How good they are, along those of *slices* that the contract has."""
        known = [name for name in slices if name in self.contract.slots]
        found = evaluate(self.predicted, self.target, self.matrix, self.contract, known, self.parts)
        return found.model_copy(update={"rows_digest": sha256_bytes(hash_rows(self.rows).tobytes())})

    def gains(self, over: "Answers", names: Sequence[str]) -> dict[str, Gain]:
        """By how much these are better than those of another bundle for the same rows, in the metrics *names*."""
        return jackknife.gains(self.contract.task, self.target, self.predicted, over.predicted, self.parts, names)


def ask(bundle: Bundle, rows: pl.DataFrame, classes: tuple[str, ...] = (), by: Bundle | None = None) -> Answers:
    """*rows* through the bundle's own contract and scorer.

    Args:
        classes: those to be told apart, in this order; by default all of the contract's.
        by: the bundle that says what errors cost; by default its own.
    """
    own = bundle.contract
    classes = classes or own.target.classes
    target_only = {"key": None, "event_time": None, "target": own.target.model_copy(update={"classes": classes})}
    contract = own.model_copy(update=target_only)
    matrix, target = matrix_and_target(rows, contract)
    predicted = bundle.scorer.score(matrix)
    if classes != own.target.classes:
        predicted = np.ascontiguousarray(predicted[:, [own.target.classes.index(name) for name in classes]])
    said = replace(Said.of(predicted, _judgement(bundle, classes)), costs=_judgement(by or bundle, classes).costs)
    return Answers(rows, contract, matrix, target, said, jackknife.blocks(rows, own, bundle.split))


def _judgement(bundle: Bundle, classes: tuple[str, ...]) -> Judgement:
    own = bundle.contract.target.classes
    return bundle.judgement if classes == own else bundle.judgement.among([own.index(name) for name in classes])


def scored(bundle: Bundle, rows: pl.DataFrame, slices: Sequence[str], classes: tuple[str, ...] = ()) -> Evaluation:
    """How good the bundle is on *rows*, along those of *slices* that it has; *classes* as for ``ask``."""
    return ask(bundle, rows, classes).evaluation(slices)


def examined(bundle: Bundle, rows: pl.DataFrame, slices: Sequence[str]) -> Evaluation:
    """The same, and what guards have to know: what answers without a model, and whether it is too good to be true."""
    found, learned = ask(bundle, rows), bundle.judgement.learned
    known = rivals(rows, bundle.contract, learned, found.predicted, found.target, found.parts)
    judgement, score = bundle.judgement, bundle.scorer.score
    worth = worths(score, found.matrix, found.target, found.contract)
    drawn = tuple(one.column for one in worth[:DRAWN])
    facts = {
        **{name: getattr(judgement, name) for name in Taught.model_fields},
        "rivals": known,
        "contributions": contributions(bundle, found.matrix, found.predicted.values),
        "alone": suspicion.alone(found.matrix, found.target, bundle.contract),
        "worths": worth,
        "courses": tuple(courses(score, found.matrix, found.contract, drawn)),
        "over_time": tuple(stretches(rows, bundle.contract, found.target, found.predicted)),
        "overlap": None if learned is None else suspicion.overlap(found.matrix, found.target, learned),
    }
    return found.evaluation(slices).model_copy(update=facts)

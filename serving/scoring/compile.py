"""The fast form: a fitted pipeline as flat arrays that score like it, bit for bit.

Sums of trees are equal to scikit-learn's to the last bit. Linear sums differ by the order of addition only. Whoever
compiles compares with the pipeline afterwards (``bundle`` does, on the golden rows, at writing and at loading).
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.archive import Arrays, pack_arrays, unpack_arrays
from serving.contract import Contract, Matrix
from serving.errors import GateRefusal, UsageError
from serving.scoring.api import Declined, Form, Predictions
from serving.scoring.bends import STRAIGHT, Back
from serving.scoring.blend import BlendedScorer
from serving.scoring.linear import Linear
from serving.scoring.links import LINKS, ROUNDED, ULPS, outputs_of
from serving.scoring.program import Program
from serving.scoring.trees import Forest

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_HEAD = "head"
_FORMATS = (1, 2, 3)  # the second knows a way back, the third several models side by side
_BROKEN = (zipfile.BadZipFile, KeyError, TypeError, ValueError, IndexError, EOFError, OSError, AttributeError)


@dataclass(frozen=True)
class CompiledScorer:
    """Preprocessing, sums and link of one model.

    Attributes:
        order: for classification, where each class of the contract stands among the model's.
        back: from the answers of a bent target to the target's own unit.
    """

    contract: Contract
    program: Program
    sums: Forest | Linear
    link: str
    order: tuple[int, ...] = ()
    back: Back = STRAIGHT

    @property
    def form(self) -> Form:
        return "trees" if isinstance(self.sums, Forest) else "linear"

    @property
    def reason(self) -> str:
        if self.form == "linear":
            return f"exact to {ULPS} units in the last place: the pipeline's sums in a fixed order"
        return "exact: the pipeline's own comparisons and additions, compiled"

    def score(self, matrix: Matrix) -> Predictions:
        """See ``api.SklearnScorer``; contiguous float64 arrays are read without a copy."""
        answer = self.linked(self.sums.raw(self._features(matrix)))
        return answer if self.back.straight else self.back.of(answer, self.unit(matrix))

    def tolerance(self, matrix: Matrix) -> Predictions:
        """How far each prediction of *matrix* may lie from scikit-learn's: 0 where all operations are the same ones."""
        if self.back.straight:
            return self._tolerance(matrix)
        straight, unit = replace(self, back=STRAIGHT), self.unit(matrix)
        answer, off = straight.score(matrix), straight._tolerance(matrix)
        ends = [self.back.of(answer + sign * off, unit) for sign in (-1, 0, 1)]
        return np.asarray(np.abs(ends[2] - ends[0]) + ULPS * np.spacing(np.abs(ends[1])))

    def unit(self, matrix: Matrix) -> Predictions | None:
        """What the answers are multiplied by."""
        return matrix[:, list(self.contract.slots).index(self.back.per)] if self.back.per else None

    def _tolerance(self, matrix: Matrix) -> Predictions:
        features = self._features(matrix)
        if isinstance(self.sums, Linear):
            scale = self.sums.magnitude(features).max(axis=1)
            if self.link in ROUNDED:
                scale = np.maximum(scale, 1.0)
        elif self.link in ROUNDED:
            scale = np.abs(self.linked(self.sums.raw(features))).reshape(len(features), -1).max(axis=1)
        else:
            return np.zeros(len(features))
        return np.asarray(ULPS * np.spacing(scale))

    def _features(self, matrix: Matrix) -> Matrix:
        return self.program.features(self.checked(matrix), self.contract)

    def checked(self, matrix: Matrix) -> Matrix:
        """*matrix* as the loops read it."""
        matrix = np.ascontiguousarray(matrix, np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != self.program.n_columns:
            raise UsageError(f"expected a coded matrix of {self.program.n_columns} columns, seen {matrix.shape}")
        return matrix

    def linked(self, raw: Matrix) -> Predictions:
        """The answers of the sums *raw*, of a bent target in its own unit."""
        answer = LINKS[self.link](raw)
        if self.order and self.order != tuple(range(len(self.order))):
            answer = np.ascontiguousarray(answer[:, self.order])
        return answer


Fast = CompiledScorer | BlendedScorer


def compile_pipeline(pipeline: "Pipeline", contract: Contract) -> Fast | Declined:
    """The fast form of a fitted *pipeline* that takes ``contract.frame`` tables, or why there is none."""
    from serving.scoring.around import BlendClassifier, BlendRegressor

    steps, last = _flattened(pipeline)
    if not isinstance(last, BlendClassifier | BlendRegressor):
        return _compiled(pipeline, contract)
    if steps:
        return Declined("a mean of models behind other steps has no fast form")
    members = [_compiled(one, contract) for one in last.members or ()]
    declined = next((one for one in members if isinstance(one, Declined)), None)
    if declined is not None:
        return declined
    blended = BlendedScorer(tuple(members), tuple(map(float, last.weights or ())))  # type: ignore[arg-type]  # above
    fault = blended.fault()
    return blended if fault is None else Declined(f"the compiled arrays do not fit together: {fault}")


def _compiled(pipeline: "Pipeline", contract: Contract) -> CompiledScorer | Declined:
    """The fast form of one model."""
    from serving.features.derive import Derive
    from serving.scoring.api import class_order
    from serving.scoring.around import Retargeted
    from serving.scoring.estimators import compile_estimator
    from serving.scoring.preprocess import transform_all
    from serving.scoring.symbols import CannotCompile, derived_symbols, lower, symbols_of

    steps, estimator = _flattened(pipeline)
    if isinstance(estimator, Retargeted):
        return _retargeted(steps, estimator, contract)
    try:
        sparse = any(getattr(step, "sparse_output_", False) for _, step in steps)
        core = compile_estimator(estimator, sparse)
        derived, symbols = None, symbols_of(contract)
        if steps and isinstance(steps[0][1], Derive):
            (derived, symbols), steps = derived_symbols(steps[0][1], contract), steps[1:]
        program = lower(transform_all(steps, symbols), len(contract.slots), core.accepts, core.narrow, derived)
        order = tuple(class_order(pipeline.classes_, contract)) if contract.task == "classification" else ()
    except CannotCompile as reason:
        return Declined(str(reason))
    scorer = CompiledScorer(contract, program, core.sums, core.link, order)
    fault = _fault(scorer)
    return scorer if fault is None else Declined(f"the compiled arrays do not fit together: {fault}")


def _retargeted(steps: list[tuple[str, Any]], estimator: Any, contract: Contract) -> CompiledScorer | Declined:
    if steps or contract.task != "regression":
        return Declined("a bent target behind other steps has no fast form")
    inner = _compiled(estimator.pipeline, contract)
    if isinstance(inner, Declined):
        return inner
    scorer = replace(inner, back=estimator.back)
    fault = _fault(scorer)
    return scorer if fault is None else Declined(f"the compiled arrays do not fit together: {fault}")


def _flattened(pipeline: "Pipeline") -> tuple[list[tuple[str, Any]], Any]:
    """All transformers and the estimator of a pipeline that may end in another pipeline."""
    *steps, (_, last) = pipeline.steps
    if hasattr(last, "steps"):
        inner, estimator = _flattened(last)
        return steps + inner, estimator
    return list(steps), last


def to_bytes(scorer: Fast) -> bytes:
    """The form as ``scoring.npz``."""
    if isinstance(scorer, CompiledScorer):
        head, arrays = _packed(scorer)
    else:
        heads, arrays = list[dict[str, Any]](), {}
        for number, one in enumerate(scorer.members):
            member, own = _packed(one)
            heads.append(member)
            arrays |= {f"member{number}_{name}": array for name, array in own.items()}
        head = {"format": _FORMATS[-1], "members": heads, "weights": list(scorer.weights)}
    arrays[_HEAD] = np.frombuffer(json.dumps(head, sort_keys=True).encode(), np.uint8)
    return pack_arrays(arrays)


def _packed(scorer: CompiledScorer) -> tuple[dict[str, Any], Arrays]:
    program, program_arrays = scorer.program.to_arrays()
    sums, sums_arrays = scorer.sums.to_arrays()
    head = {
        "format": 1 if scorer.back == STRAIGHT else 2,
        "form": scorer.form,
        "link": scorer.link,
        "order": list(scorer.order),
        "program": program,
        "sums": sums,
        **({} if scorer.back == STRAIGHT else {"back": scorer.back.to_head()}),
    }
    return head, {**program_arrays, **sums_arrays}


def from_bytes(data: bytes, contract: Contract) -> Fast:
    """The form in a ``scoring.npz``; every index in it is checked, since the compiled loops do not.

    Raises:
        GateRefusal: damaged or crafted arrays, or ones that do not belong to *contract*.
    """
    try:
        arrays = unpack_arrays(data)
        head = json.loads(arrays.pop(_HEAD).tobytes())
        if head["format"] not in _FORMATS:
            raise GateRefusal(f"scoring.npz has format {head['format']!r}, expected {_FORMATS[-1]}; train a new bundle")
        if "members" not in head:
            return _unpacked(head, arrays, contract)
        members = [
            _unpacked(one, {k.removeprefix(own): v for k, v in arrays.items() if k.startswith(own)}, contract)
            for own, one in ((f"member{number}_", one) for number, one in enumerate(head["members"]))
        ]
        blended = BlendedScorer(tuple(members), tuple(float(weight) for weight in head["weights"]))
        fault = blended.fault()
    except _BROKEN as error:
        raise GateRefusal(f"scoring.npz is damaged or crafted ({error}); train a new bundle") from error
    if fault is not None:
        raise GateRefusal(f"scoring.npz holds {fault}; it is damaged or crafted, train a new bundle")
    return blended


def _unpacked(head: Mapping[str, Any], arrays: Arrays, contract: Contract) -> CompiledScorer:
    kind = {"trees": Forest, "linear": Linear}[head["form"]]
    scorer = CompiledScorer(
        contract,
        Program.from_arrays(head["program"], arrays),
        kind.from_arrays(head["sums"], arrays),  # type: ignore[attr-defined]  # both kinds have it
        str(head["link"]),
        tuple(int(place) for place in head["order"]),
        Back.from_head(head["back"]) if "back" in head else STRAIGHT,
    )
    fault = _fault(scorer)
    if fault is not None:
        raise GateRefusal(f"scoring.npz holds {fault}; it is damaged or crafted, train a new bundle")
    return scorer


def _fault(scorer: CompiledScorer) -> str | None:
    """What does not fit in the arrays of *scorer*, or None."""
    if scorer.program.n_columns != len(scorer.contract.slots):
        return f"a program over {scorer.program.n_columns} columns for a contract of {len(scorer.contract.slots)}"
    sums = scorer.sums
    n_outputs = len(sums.base) if isinstance(sums, Forest) else len(sums.intercepts)
    classes = len(scorer.contract.target.classes)
    if outputs_of(scorer.link, n_outputs) != classes or sorted(scorer.order) != list(range(classes)):
        return f"{n_outputs} sums through {scorer.link!r} for {classes} classes"
    if scorer.back != STRAIGHT and (classes or scorer.back.per not in ("", *scorer.contract.slots)):
        return f"a way back by {scorer.back.per!r}"
    return scorer.program.fault() or sums.fault(scorer.program.n_features) or scorer.back.fault()

"""A loaded bundle with everything that answers from it, and the steps every protocol shares."""

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.columns.moments import sample
from serving.contract import Matrix
from serving.errors import DataError
from serving.explaining.api import Explainer
from serving.explaining.choice import explainer
from serving.predictor.encode import MODEL_FAULT, Answer, Because, Encoder
from serving.predictor.errors import Refusal
from serving.predictor.rows.v1 import Decoder
from serving.predictor.rows.v2 import PLAIN, Wanted
from serving.predictor.rows.validate import Rows
from serving.predictor.settings import Settings
from serving.predictor.tally import HistogramTally

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle

WARM_ROWS = (1, 64, 512)  # each size has compiled loops of its own


class Served:
    """One model, ready to answer; stateless but for the tally, so that threads may share it.

    Attributes:
        quick: whether single rows may be scored on the event loop: the model has a fast form.
    """

    def __init__(self, bundle: "Bundle", settings: Settings) -> None:
        self.bundle = bundle
        self.contract = bundle.contract
        self.scorer = bundle.scorer
        self.quick = bundle.scorer.form != "sklearn"
        self.decoder = Decoder(bundle.contract, settings.max_rows)
        self.checker = self.decoder.checker
        self.encoder = Encoder(bundle.contract, settings.model_name, settings.version, bundle.judgement)
        self.tally = HistogramTally(bundle.contract, bundle.profile)
        self.columns = frozenset(bundle.contract.names)
        self._settings = settings

    def score(self, matrix: Matrix) -> npt.NDArray[np.float64]:
        """Scores of a coded matrix.

        Raises:
            Refusal: 400 where the model cannot take a row that the contract allows, marked as the model's fault.
        """
        try:
            return self.scorer.score(matrix)
        except DataError as error:
            raise Refusal("bad_request", str(error), (), MODEL_FAULT) from None

    def warm(self) -> None:
        """Score a row and batches, and read one body of each kind, so that no request pays for compilation."""
        golden = self.bundle.golden
        if not len(golden):
            return
        for rows in WARM_ROWS:
            answer = self.encoder.answer(self.score(np.resize(golden, (rows, golden.shape[1]))))
            self.encoder.v1(answer, "warm")
        with contextlib.suppress(Refusal):  # a contract whose examples are refused is odd, but can be served
            self.decoder.decode(self.sample_body(1))
            self.decoder.decode_large(self.sample_body(WARM_ROWS[-1]))

    def sample_body(self, rows: int) -> bytes:
        """A V1 body of *rows* valid rows."""
        row = {name: example(column) for name, column in self.contract.columns.items()}
        return msgspec.json.encode({"instances": [row] * rows})

    def answer(self, rows: Rows, wanted: Wanted = PLAIN) -> Answer:
        """What the model says of *rows*, with what is *wanted* beside it; inputs and predictions are counted on the
        profile's bins."""
        scores = self.score(rows.matrix)
        because = self._because(rows, scores) if wanted.explain else None
        answer = self.encoder.answer(scores, rows, wanted, because)
        self.tally.add(rows.matrix, answer.tracked)
        return answer

    def explain(self, rows: Rows, request_id: str) -> bytes:
        """The V1 answer to ``:explain``; raises as ``_because``."""
        scores = self.score(rows.matrix)
        answer = self.encoder.answer(scores, rows, because=self._because(rows, scores))
        return self.encoder.explanations(answer, request_id)

    @cached_property
    def _explainer(self) -> Explainer:
        return explainer(self.scorer, self.contract, self.bundle.golden)

    def _because(self, rows: Rows, scores: npt.NDArray[np.float64]) -> Because:
        """Why the *scores* of *rows* are what they are.

        Raises:
            Refusal: 413 for too many rows, 501 if the bundle has no rows to compare with.
        """
        most = self._settings.max_explain_rows
        if len(rows.matrix) > most:
            raise Refusal(
                "too_large", f"expected at most {most} rows to explain in one request, got {len(rows.matrix)}"
            )
        if not len(self.bundle.golden):
            raise Refusal(
                "not_implemented", "explanations compare with the bundle's golden rows, and this bundle has none"
            )
        classes = self.bundle.judgement.of_interest(scores, len(self.contract.target.classes))
        told = self._explainer
        words = {code: told.of(code) for code in set(classes.tolist())}
        of = [words[code] for code in classes.tolist()]
        return Because(told.method, of, classes, told.explained(rows.matrix, classes))


def example(column: Any) -> Any:
    """A value that *column* takes."""
    if column.type == "category":
        return column.values[0] if column.values else "a"
    if column.type in ("bool", "text", "id"):
        return {"bool": False, "text": "a text", "id": "1"}[column.type]
    if column.type == "datetime":
        return sample(column.format[0]) if column.format else "2014-03-25T14:05:09"
    if column.range is None:
        return 1
    low, high = column.range
    value = 0.0 if low <= 0 <= high else (low + high) / 2
    if column.type == "int":
        whole = int(np.ceil(low))
        return int(value) if low <= int(value) <= high else whole
    return value

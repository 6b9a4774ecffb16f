"""A loaded bundle with everything that answers from it, and the steps every protocol shares."""

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from serving.columns.moments import sample
from serving.contract import Matrix
from serving.errors import DataError
from serving.predictor.encode import MODEL_FAULT, Answer, Encoder
from serving.predictor.errors import Refusal
from serving.predictor.explain import METHOD, Explanation, explain
from serving.predictor.rows.v1 import Decoder
from serving.predictor.rows.validate import Rows
from serving.predictor.settings import Settings
from serving.predictor.tally import HistogramTally

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle

WARM_ROWS = (1, 64, 512)  # each size has compiled loops of its own
SEED = 20140101


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
        self.encoder = Encoder(bundle.contract, settings.model_name, settings.version)
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

    def answer(self, rows: Rows) -> Answer:
        """What the model says of *rows*; inputs and predictions are counted on the profile's bins."""
        answer = self.encoder.answer(self.score(rows.matrix), rows)
        self.tally.add(rows.matrix, answer.tracked)
        return answer

    def explain(self, rows: Rows, request_id: str) -> bytes:
        """The V1 answer to ``:explain``.

        Raises:
            Refusal: 400 for too many rows, 501 if the bundle has no rows to compare with.
        """
        background = self.bundle.golden
        if not len(background):
            raise Refusal(
                "not_implemented", "explanations compare with the bundle's golden rows, and this bundle has none"
            )
        scores = self.score(rows.matrix)
        answer = self.encoder.answer(scores, rows)
        explanations = [self._explanation(row, scores[i], background) for i, row in enumerate(rows.matrix)]
        document = {
            "explanations": explanations,
            "predictions": self.encoder.said(answer),
            **({"ids": self.encoder.ids(answer)} if self.contract.ids else {}),
            "method": METHOD,
            "model_name": self._settings.model_name,
            "model_version": self._settings.version,
            "request_id": request_id,
        }
        return msgspec.json.encode(document)

    def _explanation(self, row: npt.NDArray[np.float64], score: Any, background: Matrix) -> dict[str, Any]:
        """What one row's number is made of; of classes, the probability of the last of two or the likeliest of more."""
        classes = self.contract.target.classes
        index = None if not classes else 1 if len(classes) == 2 else int(np.argmax(score))

        def of_interest(matrix: Matrix) -> npt.NDArray[np.float64]:
            scores = self.score(matrix)
            return scores if index is None else np.asarray(scores[:, index])

        found: Explanation = explain(row, background, of_interest, SEED)
        contributions = dict(zip(self.contract.slots, found.contributions.tolist(), strict=True))
        told: dict[str, Any] = {"score": found.score, "base": found.base, "contributions": contributions}
        return told if index is None else {"class": self.contract.target.labels[index], **told}


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

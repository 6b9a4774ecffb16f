"""V1 bodies into the coded matrix, without a table in between.

The contract is compiled into a msgspec type, so that types, ranges, categories, missing and unknown columns are checked
in C while the JSON is read. Where that refuses, the same rows go through ``validate``, which finds all problems and the
words for them; the two must agree, and a test holds them to it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from serving.columns.coding import NO_MOMENT
from serving.contract import Column, Contract, Matrix, spellings
from serving.predictor.errors import Refusal, bad_request, jsonable, shown
from serving.predictor.rows.large import PlainRows, pieces
from serving.predictor.rows.validate import NOTHING_CARRIED, Checker, Gather, Rows, rows_of

PIECE_ROWS = 256


def cell_type(column: Column) -> Any:
    """The msgspec type of one JSON value of *column*; lenient columns are checked afterwards."""
    kind: Any
    if column.type == "id":
        return str | int | float | None
    if column.type == "category" and column.closed and column.unknown == "refuse":
        kind = Literal[(*column.values, *spellings(column.values))]
    elif column.type in ("category", "text"):
        kind = str
    elif column.type == "datetime":
        kind = str if column.reading.counted is None else str | float
    elif column.type == "bool":
        kind = bool
    elif column.range is not None and column.out_of_range == "refuse":
        kind = Annotated[float, msgspec.Meta(ge=column.range[0], le=column.range[1])]
    else:
        kind = float
    return kind | None if column.nullable else kind


class Decoder:
    """Reads V1 bodies of one contract; holds no state between calls, so that threads may share it."""

    def __init__(self, contract: Contract, max_rows: int) -> None:
        self.checker = Checker(contract)
        self.max_rows = max_rows
        self._usual = PlainRows(contract, max_rows)
        columns = self.checker.columns
        kinds = [cell_type(column) for column in columns]
        fields = [(f"c{i}", kind, None) if i in self.checker.ids else (f"c{i}", kind) for i, kind in enumerate(kinds)]
        names = {f"c{i}": name for i, name in enumerate(self.checker.names)}
        self._row: Any = msgspec.defstruct(
            "Row", fields, rename=names, forbid_unknown_fields=True, gc=False, kw_only=True
        )
        array: Any = tuple[tuple(kinds)]  # type: ignore[misc]  # made from the contract at run time
        rows = list[self._row | array]  # type: ignore[misc,name-defined]  # as above
        optional: Any = rows | msgspec.UnsetType  # type: ignore[operator]  # as above
        envelope = msgspec.defstruct(
            "Envelope", [("instances", optional, msgspec.UNSET), ("inputs", optional, msgspec.UNSET)]
        )
        self._envelope: msgspec.json.Decoder[Any] = msgspec.json.Decoder(envelope)
        self._coders = [
            (i, *self.checker.quick(i)) for i, c in enumerate(columns) if c.type in ("category", "datetime")
        ]
        self._wide = [(i, self.checker.quick(i)[0]) for i, c in enumerate(columns) if c.type in ("text", "id")][::-1]
        self._empty = [(i, frozenset(c.null_numbers)) for i, c in enumerate(columns) if c.null_numbers]
        self._whole = [i for i, column in enumerate(columns) if column.type == "int"]
        self._loose = [(i, *c.range) for i, c in enumerate(columns) if c.range and c.out_of_range != "refuse"]

    def decode(self, body: bytes, first: int = 0) -> Rows:
        """The rows of a small V1 body, which are called *first* and so on where a sentence names one.

        Raises:
            Refusal: 400 with every problem of the first bad rows, or 413 for too many rows.
        """
        try:
            envelope = self._envelope.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._slowly(body, first)
        rows, other = envelope.instances, envelope.inputs
        if rows is msgspec.UNSET:
            rows, other = other, rows
        if other is not msgspec.UNSET or rows is msgspec.UNSET:
            return self._slowly(body, first)
        self._count(len(rows))
        return self._coded(rows, first) or self._slowly(body, first)

    def decode_large(self, body: bytes) -> Rows:
        """As ``decode``; other threads get their turn meanwhile."""
        plain = self._usual.read(body)
        if plain is not None:
            return Rows(plain)
        cut = pieces(body, PIECE_ROWS)
        if cut is None or cut[0] <= PIECE_ROWS:
            return self.decode(body)
        self._count(cut[0])
        parts: list[Rows] = []
        gather, rows = Gather(), 0
        for part in cut[1]:
            try:
                parts.append(self.decode(part, rows))
                rows += len(parts[-1].matrix)
            except Refusal as refusal:
                if not refusal.problems:  # it is no list of rows: the whole body has the words for that
                    return self.decode(body)
                if gather.full(*refusal.problems):
                    break
                rows += sum(len(rows_in(given)) for elements in json_value(part).values() for given in elements)
        gather.raise_if_any()
        self._count(rows)
        return together(parts)

    def _slowly(self, body: bytes, first: int) -> Rows:
        document = json_value(body)
        if not isinstance(document, dict):
            raise bad_request(f"the body: expected an object with 'instances', got {shown(document)}")
        present = [key for key in ("inputs", "instances") if key in document]  # of both KServe's servers read the first
        if not present:
            keys = ", ".join(repr(jsonable(key)) for key in list(document)[:10]) or "no keys"
            raise bad_request(f"the body: expected either 'instances' or 'inputs', a list of rows, got {keys}")
        rows = document[present[0]]
        if not isinstance(rows, list):
            raise bad_request(f"{present[0]}: expected a list of rows, got {shown(rows)}")
        rows = [row for given in rows for row in rows_in(given)]
        self._count(len(rows))
        return rows_of(self.checker, rows, first, present[0])

    def _count(self, rows: int) -> None:
        if rows == 0:
            raise bad_request(f"expected 1 to {self.max_rows} rows, got an empty list")
        if rows > self.max_rows:
            raise Refusal(
                "too_large", f"expected at most {self.max_rows} rows in one request, got {rows}; send them in parts"
            )

    def _coded(self, rows: list[Any], first: int) -> Rows | None:
        """Rows of typed *rows*; None where a check that the type cannot express found something to refuse."""
        kind, astuple = self._row, msgspec.structs.astuple
        tuples = [astuple(row) if row.__class__ is kind else row for row in rows]
        checker = self.checker
        ids = checker.carried(lambda at: [row[at] for row in tuples]) if checker.ids else NOTHING_CARRIED
        plain = self._plain(tuples[0]) if len(tuples) == 1 else None
        if plain is not None:
            return Rows(plain, (), ids)
        matrix = np.empty((len(tuples), checker.width), dtype=np.float64)
        for position, values in enumerate(zip(*tuples, strict=True)):
            matrix[:, checker.firsts[position] : checker.firsts[position + 1]] = checker.coded(position, values)
        try:
            return checker.checked(matrix, lambda row, position: tuples[row][position], first, ids=ids)
        except Refusal:
            return None

    def _plain(self, values: tuple[Any, ...]) -> Matrix | None:
        """One row without arrays until the last step, since a call into numpy costs more than a cell; None where a cell
        needs a closer look."""
        cells = list(values)
        for position, coder, nullable in self._coders:
            code = cells[position] = coder(cells[position])
            if code is None or code == NO_MOMENT or (code != code and not nullable):
                return None
        for position, empty in self._empty:
            if cells[position] in empty:
                return None
        for position in self._whole:
            value = cells[position]
            if value is not None and not value.is_integer():
                return None
        for position, low, high in self._loose:
            value = cells[position]
            if value is not None and not low <= value <= high:
                return None
        for position, codes in self._wide:
            cells[position : position + 1] = codes(cells[position])
        return np.array([cells], dtype=np.float64)


def together(parts: Sequence[Rows]) -> Rows:
    """The rows of all *parts*, one behind the other."""
    names = dict.fromkeys(name for part in parts for name in part.ids)
    nothing = [[None] * len(part.matrix) for part in parts]
    ids = {n: [one for part, none in zip(parts, nothing, strict=True) for one in part.ids.get(n, none)] for n in names}
    flags = tuple(flag for part in parts for flag in part.flags)
    return Rows(np.concatenate([part.matrix for part in parts]), flags, ids)


class _Parameters(msgspec.Struct):
    parameters: dict[str, Any] | None = None


_parameters = msgspec.json.Decoder(_Parameters)


def parameters(body: bytes) -> Mapping[str, Any]:
    """What a V1 *body* asks for beside its rows."""
    try:
        return _parameters.decode(body).parameters or {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}  # what is wrong with it is told by who reads the rows


def interval_in(parameters: Mapping[str, Any]) -> float | None:
    """The interval that a request's *parameters* ask for; None where they do not.

    Raises:
        Refusal: 400 where it is no number.
    """
    asked = parameters.get("interval")
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int | float)):
        raise bad_request(f"parameters.interval: expected a share such as 0.9, got {shown(jsonable(asked))}")
    return asked


def explain_in(parameters: Mapping[str, Any]) -> bool:
    """Whether a request's *parameters* ask for explanations.

    Raises:
        Refusal: 400 where they say neither yes nor no.
    """
    asked = parameters.get("explain")
    if asked is not None and not isinstance(asked, bool):
        raise bad_request(f"parameters.explain: expected true or false, got {shown(jsonable(asked))}")
    return bool(asked)


def top_in(parameters: Mapping[str, Any]) -> int | None:
    """How many of the most probable classes a request's *parameters* ask for; None where they do not.

    Raises:
        Refusal: 400 where it is no whole number.
    """
    asked = parameters.get("top")
    if isinstance(asked, float) and asked.is_integer():
        return int(asked)
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int)):
        raise bad_request(f"parameters.top: expected a whole number of classes such as 3, got {shown(jsonable(asked))}")
    return asked


def rows_in(given: Any) -> list[Any]:
    """The rows of one element of ``instances``: itself, unless it is a table as KServe's servers take them too, a
    list of records or an object with a list of cells for each column."""
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return given
    if isinstance(given, dict) and given and all(isinstance(cells, list) for cells in given.values()):
        lengths = {len(cells) for cells in given.values()}
        if len(lengths) == 1 and lengths != {0}:  # of no cells no row would be left to complain of
            return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    return [given]


def json_value(body: bytes) -> Any:
    """*body* as JSON values.

    Raises:
        Refusal: 400 where it is no JSON; NaN and Infinity are none.
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise bad_request("the body: expected rows of plain values, got lists nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(_not_json(body, str(error))) from None


def _not_json(body: bytes, reason: str) -> str:
    if not body.strip():
        return "the body: expected JSON, got nothing"
    hint = ""
    if any(word in body for word in (b"NaN", b"Infinity")):
        hint = "; NaN and Infinity are not JSON: send null for a missing value"
    return f"the body: expected JSON, got something else ({reason}){hint}"

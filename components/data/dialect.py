"""How a CSV file writes its cells, as far as the contract does not state it: found from its first rows."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from serving.contract import Dialect

SEPARATORS = (",", ";", "\t", "|")
HEAD = 1 << 18  # bytes that detection looks at
ROWS = 200

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as the next one does
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHERS = {
    b"PAR1": "a parquet file",
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "packed by gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"SQLite": "a database",
}
_COMMA = re.compile(r"\s*[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+\s*")
_POINT = re.compile(r"\s*[-+]?\d*\.\d+([eE][-+]?\d+)?\s*")


def settled(stated: Dialect, head: bytes, wanted: Collection[str] = ()) -> Dialect:
    """*stated* with what it leaves open found in *head*, the first bytes of a file.

    The separator is the one by which the header names most of the *wanted* columns, and then the one by which most rows
    have as many cells as the header. Bytes that are no UTF-8 are read as cp1252, which Windows writes.
    """
    encoding = stated.encoding or _encoding(head)
    text = head.decode(encoding, "ignore")
    text = text[: text.rfind("\n") + 1] if len(head) >= HEAD else text
    separator = stated.separator or max(SEPARATORS, key=lambda mark: _fit(_rows(text, mark, stated.quote), wanted))
    decimal = stated.decimal or _decimal(_rows(text, separator, stated.quote), separator)
    return Dialect(separator=separator, decimal=decimal, encoding=encoding, quote=stated.quote)


def other(head: bytes) -> str:
    """What a file with these first bytes is that is no CSV file whatever its name; empty for one that may be."""
    return next((name for mark, name in _OTHERS.items() if head.startswith(mark)), "")


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    halves = head[0:8:2], head[1:8:2]  # of a header of plain letters, each of two bytes, one half is zero
    if any(half and not any(half) for half in halves):
        return "utf-16-le" if any(halves[0]) else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _rows(text: str, separator: str, quote: str) -> list[list[str]]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote)
    try:
        return [row for row, _ in zip((row for row in lines if row), range(ROWS), strict=False)]
    except csv.Error:
        return []


def _fit(rows: Sequence[Sequence[str]], wanted: Collection[str]) -> tuple[int, float, int]:
    """How well a separator fits that cuts a file into *rows*; one that cuts nothing does not fit at all."""
    if not rows or len(rows[0]) < 2:
        return 0, 0.0, 0
    named = len({name.strip() for name in rows[0]} & set(wanted))
    alike = Counter(len(row) for row in rows)[len(rows[0])] / len(rows)
    return named, alike, len(rows[0])


def _decimal(rows: Sequence[Sequence[str]], separator: str) -> Literal[".", ","]:
    """A comma where numbers have one before their decimals and none has a point there; never with commas between cells.

    Between semicolons ``1,5`` is a number with a comma; ``1.234,5`` is one with both marks.
    """
    cells = [cell for row in rows[1:] for cell in row]
    commas = sum(_COMMA.fullmatch(cell) is not None for cell in cells)
    points = sum(_POINT.fullmatch(cell) is not None for cell in cells)
    return "," if separator != "," and commas > points else "."

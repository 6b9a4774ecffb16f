"""``docs/features.md``, written from the functions themselves: ``python -m tests.serving.features.page``."""

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from serving.contract import Contract
from serving.features.compile import compile_columns
from serving.features.derive import Derive
from serving.features.functions import FUNCTIONS
from tests.root import ROOT

PAGE = ROOT / "docs" / "features.md"
BEGIN, END = "<!-- functions -->", "<!-- end of functions -->"
CONTRACT = Contract.model_validate(
    {
        "target": {"name": "price"},
        "columns": {
            "area": {"type": "float"},
            "rooms": {"type": "int"},
            "floor_no": {"type": "int", "nullable": True},
            "kind": {"type": "category", "values": ["flat", "house"]},
            "garden": {"type": "bool"},
            "sold_at": {"type": "datetime", "zone": "Europe/Berlin"},
        },
    }
)
ROW = [80.0, 3.0, math.nan, 0.0, 1.0, datetime.fromisoformat("2014-03-30T01:30:00+00:00").timestamp()]


def shown(expressions: Mapping[str, str]) -> dict[str, str]:
    """What *expressions* give for ``ROW``, as the page writes it."""
    made = compile_columns(expressions, CONTRACT.slots)
    step = Derive.of(list(CONTRACT.slots), {"kind": CONTRACT.slots["kind"].values}, made)
    step.fit(CONTRACT.frame(np.array([ROW, [100.0, *ROW[1:]]])))
    cells = step.program().run(np.array([ROW]))[0, len(ROW) :].tolist()
    return {name: _word(*pair) for name, *pair in zip(made.columns, made.columns.values(), cells, strict=True)}


def _word(operand: object, cell: float) -> str:
    if math.isnan(cell):
        return "missing"
    values = getattr(operand, "values", ())
    if values:
        return str(values[int(cell)])
    if getattr(operand, "kind", "") == "truth":
        return "true" if cell else "false"
    return f"{cell:.6g}"


def table() -> str:
    lines = ["| function | gives | example |", "|---|---|---|"]
    for name, function in FUNCTIONS.items():
        examples = "<br>".join(f"`{text}` is {result}" for text, result in function.examples.items())
        lines.append(f"| `{name}({function.takes})` | {function.meaning} | {examples} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """*text* with the table of functions as they are."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


def write(path: Path = PAGE) -> None:
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()

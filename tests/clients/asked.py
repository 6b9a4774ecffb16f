"""What every client program here is told and says: ``PROGRAM ADDRESS HOST MODEL ROW``, and one JSON object at the end.

The programs run in environments of their own, of which none has this repository.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """Where to ask, and what.

    Attributes:
        address: ``127.0.0.1:8080``; host: by which a gateway knows the model; row: a record of the model's columns.
    """

    address: str
    host: str
    model: str
    row: dict[str, Any]

    def tensors(self) -> list[tuple[str, str, Any]]:
        """Name, V2 datatype and value of each column."""
        types = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
        return [(name, types[type(value)], value) for name, value in self.row.items()]


def asked() -> Asked:
    address, host, model, row = sys.argv[1:5]
    return Asked(address, host, model, json.loads(row))


def tell(calls: dict[str, Callable[[], Any]]) -> None:
    """Make each of *calls*, and print what came of it by its name: the prediction, or the first words of an error."""
    told: dict[str, str] = {}
    for name, call in calls.items():
        try:
            told[name] = f"{float(call()):,.0f}"
        except Exception as error:  # noqa: BLE001  # whatever a client makes of an answer is what is to be seen
            told[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
    print(json.dumps(told))

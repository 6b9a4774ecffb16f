"""Which logged answers belong to one request: a mirror's copy to its original, and an answer to a caller's id.

A caller may use one correlation id for many requests. What it names then is not known, and nothing is made of it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

import msgspec

from serving.local.reference import Value

KEEP_PAIRS = 100_000  # requests that wait for the same request's other answer, or are done with
KEEP_NAMES = 1_000_000  # correlation ids; one that is forgotten and comes back names one answer again


class Line(msgspec.Struct, frozen=True):
    """What is read of a line of the prediction log; *prediction* is null where the model gave no number.

    Attributes:
        unit: hash of the key that the split was sticky for; empty where the request had none.
        correlation_id: what the caller calls the request, and perhaps others; old servers took it for *request_id*.
        header_id: what the request's headers call it, where that is something else.
    """

    request_id: str
    row: int
    time: str
    prediction: Value | None
    epoch: str = ""
    unit: str = ""
    correlation_id: str = ""
    header_id: str = ""

    @property
    def moment(self) -> float:
        """Seconds since the epoch."""
        return datetime.fromisoformat(self.time).timestamp()


class Names:
    """Ids of answers by what callers call them."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()
        for line in lines:
            self.add(line)

    def add(self, line: Line) -> None:
        name = line.correlation_id
        if name:
            self._owners[name] = line.request_id if self._owners.get(name, line.request_id) == line.request_id else ""
            if len(self._owners) > KEEP_NAMES:
                self._owners.popitem(last=False)

    def owner(self, name: str) -> str:
        """The one answer that *name* is a correlation id of; empty where there are more or none."""
        return self._owners.get(name, "")

    def only(self, line: Line) -> str:
        """The correlation id of *line* if it is of no other answer, else nothing."""
        return line.correlation_id if self.owner(line.correlation_id) == line.request_id else ""


Said = tuple[str, Value]  # a revision and its prediction


class Pairs:
    """Answers of two revisions to one request, as only a mirror makes them: exactly one of each, by the shared id."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str], list[Said]] = OrderedDict()
        self._whole: set[tuple[str, str]] = set()

    def add(self, line: Line, revision: str, value: Value) -> tuple[int, Said, Said] | None:
        """What *line* changes: 1 and a pair that it makes whole, or -1 and one that was none, as its id repeats."""
        key = (line.epoch, line.header_id or line.correlation_id or line.request_id)
        said = self._said.setdefault(key, [])
        if len(self._said) > KEEP_PAIRS:
            self._whole.discard(self._said.popitem(last=False)[0])
        said.append((revision, value))
        if key in self._whole:
            self._whole.discard(key)
            return -1, said[0], said[1]
        del said[3:]  # more than two answers are as good as three
        if len(said) == 2 and said[0][0] != revision:
            self._whole.add(key)
            return 1, said[0], said[1]
        return None

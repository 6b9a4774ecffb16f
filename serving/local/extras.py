"""What only the model servers' own logs and late labels know of a rollout: predictions, mistakes, paired answers.

The prediction log names the epoch of each request, so every figure belongs to the split that chose its arm. Bins and
the size of a mistake come from the profile of the version that serves, which a rollout does not change before its end.
In a sticky split the model server writes the hash of the request's key, and of each key only the first answer in an
epoch is binned and waits for a label. Its first request may have failed at the proxy before, so an answer without a
number is then the bin ``no number`` and no second error of the same key. Pairs of a shadow step are compared one by
one: the copy and the original have ids of their own, and share the correlation id of their headers.

Nothing is remembered on disk: a new process reads the logs again and comes to the same figures.
"""

import contextlib
import heapq
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from serving.errors import InfrastructureError, SlipwayError
from serving.local.matching import Line, Names, Pairs
from serving.local.paths import service_paths
from serving.local.reading import Document, Parts, Tail, append
from serving.local.reference import Reference, Value, reference_of
from serving.local.state import read_desired
from serving.profile import Profile
from serving.rollout.backend import ArmCounts, Revision

KEEP_EPOCHS = 500
# Model servers write their logs at different moments, later on a busy machine; younger answers would look as if one arm
# had fewer labels than its share, or as if an id that repeats were used once.
SETTLED_S = 3.0
KEEP_ANSWERS = 1_000_000  # answers that still wait for a label
KEEP_UNITS = 1_000_000  # sticky keys; one that is forgotten and comes back counts once more
INVALID = "no number"


class Label(msgspec.Struct, frozen=True):
    """A line of the labels' file: what the answer should have been."""

    request_id: str
    truth: Value


@dataclass
class _Arm:
    """Fields of ``ArmCounts`` that grow with each line."""

    errors: int = 0
    bins: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    mistakes: int = 0
    mirrored_differences: int = 0

    def counts(self) -> ArmCounts:
        return ArmCounts(**{**vars(self), "bins": dict(self.bins)})


@dataclass
class _Known:
    """Everything counted so far, and what still waits for its counterpart."""

    epochs: OrderedDict[str, dict[str, _Arm]] = field(default_factory=OrderedDict)
    told: dict[str, Mapping[str, ArmCounts]] = field(default_factory=dict)
    touched: dict[str, None] = field(default_factory=dict)  # epochs of which more was told, in their order
    answers: OrderedDict[str, tuple[Line, _Arm, Value]] = field(default_factory=OrderedDict)
    truths: dict[str, Value] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)  # requests whose label is in the figures
    due: list[tuple[float, str]] = field(default_factory=list)  # a heap of labels that are too young to count
    names: Names = field(default_factory=Names)
    pairs: Pairs = field(default_factory=Pairs)
    units: OrderedDict[tuple[str, str, str], None] = field(default_factory=OrderedDict)

    def truth(self, line: Line) -> Value | None:
        """The label by the answer's own id, or by a correlation id that is of no other answer."""
        return self.truths.get(line.request_id, self.truths.get(self.names.only(line)))

    def arm(self, epoch: str, revision: str) -> _Arm:
        if epoch not in self.epochs and len(self.epochs) >= KEEP_EPOCHS:
            self.told.pop(self.epochs.popitem(last=False)[0], None)
        self.touched[epoch] = None
        return self.epochs.setdefault(epoch, {}).setdefault(revision, _Arm())

    def counts(self) -> Mapping[str, Mapping[str, ArmCounts]]:
        """By epoch and revision; those of an epoch are the same object until they change."""
        for epoch in [epoch for epoch in self.touched if epoch in self.epochs]:
            self.told[epoch] = {name: arm.counts() for name, arm in self.epochs[epoch].items()}
        self.touched.clear()
        return dict(self.told)

    def first(self, line: Line, revision: str) -> bool:
        """Whether *line* is evidence: the first answer of its key, or one without a key."""
        if not line.unit:
            return True
        name = (line.epoch, revision, line.unit)
        if name in self.units:
            return False
        self.units[name] = None
        if len(self.units) > KEEP_UNITS:
            self.units.popitem(last=False)
        return True


class LogExtras:
    """The extras of one service; ``read`` is what ``EnvoyBackend.extras`` asks for.

    Args:
        bundle: gives the directory of a revision's bundle, for its profile.
        label_delay: seconds after which a request's label can be expected; younger requests are not counted, since
            labels that come early are not like the others. At least ``SETTLED_S`` where arms are compared.
    """

    def __init__(
        self,
        service_dir: Path,
        bundle: Callable[[Revision], Path],
        *,
        label_delay: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._where, self._bundle = service_paths(service_dir), bundle
        self._delay, self._clock = label_delay, clock
        self._reference: Reference | None = None
        self._stable = ""
        self._start(with_labels=labels_file(service_dir).exists())

    def read(self) -> Mapping[str, Mapping[str, ArmCounts]]:
        """Counts by epoch and revision up to the present ends of the logs."""
        labels = labels_file(self._where.directory)
        if labels.exists() and not self._with_labels:
            self._start(with_labels=True)  # answers read before are needed after all
        reference = self._reference = self._reference or self._stable_reference()
        if reference is None:
            return {}
        for revision, parts in self._logs.get().items():
            for line in answers(parts.read()):
                self._answered(line, revision, reference)
        if self._with_labels:
            for text in self._tail.read(labels):
                self._labelled(text)
            self._count_due(reference)
        return self._known.counts()

    def _start(self, *, with_labels: bool) -> None:
        self._with_labels, self._known, self._tail = with_labels, _Known(), Tail()
        self._parts: dict[str, Parts] = {}
        self._logs = Document(self._where.predictions, self._revisions)

    def _revisions(self) -> Mapping[str, Parts]:
        """The logs of the revisions that have one."""
        for folder in sorted(path for path in self._where.predictions.glob("*") if path.is_dir()):
            self._parts.setdefault(folder.name, Parts(folder, self._tail))
        return self._parts

    def _stable_reference(self) -> Reference | None:
        """From the profile of the version that serves; without one only classes are binned, and no number is wrong."""
        desired = read_desired(self._where)
        stable = desired.revisions.get(desired.stable or "")
        if stable is None:
            return None
        self._stable = stable.name
        try:
            text = (self._bundle(stable) / "profile.json").read_bytes()
            return reference_of(Profile.model_validate_json(text))
        except InfrastructureError:
            return None  # a store that does not answer now; asked again at the next look
        except (FileNotFoundError, ValueError, SlipwayError):
            return Reference()

    def _answered(self, line: Line, revision: str, reference: Reference) -> None:
        arm, first = self._known.arm(line.epoch, revision), self._known.first(line, revision)
        if self._with_labels:
            self._known.names.add(line)
        value = line.prediction
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            if not line.unit:
                arm.errors += 1
            elif first:
                arm.bins[INVALID] += 1
            return
        name = reference.bin(value)
        if first and name is not None:
            arm.bins[name] += 1
        self._compare(line, revision, value, reference)
        if first and self._with_labels:
            self._expect(line, arm, value)

    def _compare(self, line: Line, revision: str, value: Value, reference: Reference) -> None:
        """Count a pair at once, as a step may end by it, and take it back if its id turns out to be of several."""
        changed = self._known.pairs.add(line, revision, value)
        if changed is None:
            return
        sign, (one, said), (other, answer) = changed
        if reference.apart(said, answer):
            for name in {one, other} - {self._stable}:
                self._known.arm(line.epoch, name).mirrored_differences += sign

    def _expect(self, line: Line, arm: _Arm, value: Value) -> None:
        known = self._known
        if line.request_id in known.answers or line.request_id in known.counted:
            return  # of an old server, which took a caller's id for its own: the first answer has the label
        known.answers[line.request_id] = (line, arm, value)
        if len(known.answers) > KEEP_ANSWERS:
            known.answers.popitem(last=False)
        if line.request_id in known.truths or line.correlation_id in known.truths:
            self._wait(line)

    def _labelled(self, text: bytes) -> None:
        known = self._known
        try:
            label = msgspec.json.decode(text, type=Label)
        except msgspec.DecodeError:
            return
        if label.request_id in known.truths:
            return
        known.truths[label.request_id] = label.truth
        found = known.answers.get(label.request_id) or known.answers.get(known.names.owner(label.request_id))
        if found is not None:
            self._wait(found[0])

    def _wait(self, line: Line) -> None:
        heapq.heappush(self._known.due, (line.moment + self._delay, line.request_id))

    def _count_due(self, reference: Reference) -> None:
        known, now = self._known, self._clock()
        while known.due and known.due[0][0] <= now:
            request_id = heapq.heappop(known.due)[1]
            found = known.answers.get(request_id)
            truth = None if found is None else known.truth(found[0])
            if found is None or truth is None:
                continue  # counted already, or named by an id that names another answer too
            line, arm, value = known.answers.pop(request_id)
            known.counted.add(request_id)
            known.touched[line.epoch] = None
            arm.labelled += 1
            arm.mistakes += reference.mistaken(value, truth)


def answers(lines: Iterable[bytes]) -> Iterator[Line]:
    """The answers to requests of a split; rows of one request are not drawn apart, so the first stands for all."""
    for text in lines:
        with contextlib.suppress(msgspec.DecodeError):
            line = msgspec.json.decode(text, type=Line)
            if line.epoch and not line.row:
                yield line


def labels_file(service_dir: Path) -> Path:
    """Where labels are appended as lines of ``{"request_id", "truth"}``."""
    return service_dir / "labels.jsonl"


def append_labels(service_dir: Path, labels: Mapping[str, Value]) -> None:
    """Add truths by request id; a label that is there already counts as it was first told."""
    append(labels_file(service_dir), (Label(name, truth) for name, truth in labels.items()))

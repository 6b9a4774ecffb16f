"""Figures of a rollout that only the prediction log and late labels have."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import InfrastructureError
from serving.local.backend import EnvoyBackend
from serving.local.experiment import _moments, append_values
from serving.local.extras import LogExtras, append_labels, labels_file
from serving.local.paths import service_paths
from serving.local.reading import Tail
from serving.local.reference import Reference, reference_of, typical
from serving.local.state import AskedRevision, update_desired
from serving.predictor import encode
from serving.predictor.errors import Refusal
from serving.profile import NumericHistogram, Profile
from serving.rollout.backend import ArmCounts, Revision
from serving.rollout.evidence.continuous import Moments
from serving.tally import Tally

NOON = 1_700_000_000.0
PROFILE = Profile(
    rows=100,
    inputs={},
    prediction=NumericHistogram(edges=(100.0, 200.0), counts=(30, 40, 30)),
    error=NumericHistogram(edges=(-50.0, -10.0, 10.0, 50.0), counts=(2, 8, 80, 8, 2)),
)


class House:
    """A service on paper: version 1 serves, and log lines are written by hand."""

    def __init__(self, directory: Path, profile: Profile | None = PROFILE, delay: float = 0.0) -> None:
        self.directory, self.now = directory, NOON + 1000
        bundle = directory / "bundle"
        bundle.mkdir(parents=True)
        if profile is not None:
            (bundle / "profile.json").write_text(profile.model_dump_json())
        wanted = AskedRevision(name="h-1", model="h", version=1, bundle_uri=bundle.as_uri(), digest="1")
        update_desired(
            service_paths(directory),
            lambda desired: desired.model_copy(update={"stable": "h-1", "revisions": {"h-1": wanted}}),
        )
        self.bundle, self.delay = bundle, delay
        self.extras = self.again()

    def again(self) -> LogExtras:
        """A reader that starts anew."""
        return LogExtras(self.directory, lambda _: self.bundle, label_delay=self.delay, clock=lambda: self.now)

    def log(self, revision: str, request_id: str, prediction: Any, epoch: str = "e", **more: Any) -> None:
        line = {"request_id": request_id, "row": 0, "time": "2023-11-14T22:13:20Z", "prediction": prediction}
        folder = service_paths(self.directory).predictions / revision
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "predictions-1.jsonl").open("a") as file:
            file.write(json.dumps({**line, "epoch": epoch, **more}) + "\n")

    def arm(self, revision: str = "h-2", epoch: str = "e", extras: LogExtras | None = None) -> Any:
        return (extras or self.extras).read().get(epoch, {}).get(revision)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize(
    ("prediction", "name"),
    [
        pytest.param(99.0, "<= 100", id="below-all-edges"),
        pytest.param(100.0, "<= 100", id="an-edge-belongs-below"),
        pytest.param(100.5, "<= 200", id="between"),
        pytest.param(1e9, "> 200", id="above-all-edges"),
        pytest.param("benign", "benign", id="a-class-is-its-own-bin"),
    ],
)
def test_a_prediction_falls_in_the_champions_bins(house: House, prediction: Any, name: str) -> None:
    """Bins come from the profile of the version that serves."""
    house.log("h-2", "r", prediction)
    assert house.arm().bins == {name: 1}


def test_epochs_and_revisions_are_counted_apart(house: House) -> None:
    """Each answer counts under the split that chose its arm; without a split it does not count."""
    house.log("h-1", "a", 1.0)
    house.log("h-2", "b", 1.0)
    house.log("h-2", "c", 1.0, epoch="later")
    house.log("h-2", "d", 1.0, epoch="")
    house.log("h-2", "e", 1.0, row=1)
    seen = house.extras.read()
    assert {(epoch, name): arm.bins for epoch, arms in seen.items() for name, arm in arms.items()} == {
        ("e", "h-1"): {"<= 100": 1},
        ("e", "h-2"): {"<= 100": 1},
        ("later", "h-2"): {"<= 100": 1},
    }


def test_an_answer_without_a_number_is_an_error(house: House) -> None:
    """Status 200 with a null is no prediction."""
    house.log("h-2", "a", None)
    house.log("h-2", "b", 1.0)
    assert (house.arm().errors, house.arm().bins) == (1, {"<= 100": 1})


def test_late_labels_tell_mistakes(house: House) -> None:
    """An error beyond nine in ten of the champion's own is a mistake; the first label of a request counts."""
    for name, value in (("a", 100.0), ("b", 160.0), ("c", 49.0), ("d", 5.0)):
        house.log("h-2", name, value)
    assert house.arm().labelled == 0
    append_labels(house.directory, {"a": 100.0, "b": 100.0, "c": 100.0, "unknown": 1.0})
    append_labels(house.directory, {"a": 900.0})
    assert (house.arm().labelled, house.arm().mistakes) == (3, 2)


@pytest.mark.parametrize("labels_first", [True, False], ids=["label-first", "answer-first"])
def test_labels_and_answers_may_come_in_any_order(house: House, labels_first: bool) -> None:
    """A label for an answer that is logged later is kept for it."""
    for act in (0, 1) if labels_first else (1, 0):
        if act == 0:
            append_labels(house.directory, {"a": 500.0})
        else:
            house.log("h-2", "a", 100.0)
        house.extras.read()
    assert (house.arm().labelled, house.arm().mistakes) == (1, 1)


def test_of_a_sticky_key_the_first_answer_counts(house: House) -> None:
    """Bins and labels are those of its first answer in the epoch; pairs are compared for each request."""
    for name, value in (("a", 100.0), ("b", 900.0), ("c", 900.0)):
        house.log("h-2", name, value, unit="ann")
    house.log("h-2", "d", 900.0, unit="bob")
    house.log("h-2", "e", 900.0)
    house.log("h-2", "f", 900.0, epoch="later", unit="ann")
    for revision, value in (("h-1", 100.0), ("h-2", 900.0)):
        for name in "ghi":
            house.log(revision, name, value, epoch="shadow", unit="ann")
    append_labels(house.directory, dict.fromkeys("abcdef", 100.0))
    arm = house.arm()
    assert (arm.bins, arm.labelled, arm.mistakes) == ({"<= 100": 1, "> 200": 2}, 3, 2)
    assert house.arm(epoch="later").bins == {"> 200": 1}
    assert house.arm(epoch="shadow").mirrored_differences == 3
    assert house.again().read() == house.extras.read()


def test_an_answer_without_a_number_is_no_second_error_of_its_key(house: House) -> None:
    """The proxy may have counted the key's first request as failed already."""
    for _ in range(2):
        house.log("h-2", "a", None, unit="ann")
    assert (house.arm().errors, house.arm().bins) == (0, {"no number": 1})


def test_young_requests_wait_for_their_labels(tmp_path: Path) -> None:
    """Labels that come early are not like the others, so a request is counted at the usual age of a label."""
    house = House(tmp_path, delay=5000)
    house.log("h-2", "a", 100.0)
    append_labels(house.directory, {"a": 100.0, "b": 100.0})
    assert house.arm().labelled == 0
    house.log("h-2", "b", 100.0)
    assert house.arm().labelled == 0
    house.now = NOON + 5001
    assert house.arm().labelled == 2


def test_classes_are_right_or_wrong(tmp_path: Path) -> None:
    """For classes a mistake is another class."""
    house = House(tmp_path, profile=PROFILE.model_copy(update={"error": None}))
    house.log("h-2", "a", "benign")
    house.log("h-2", "b", "benign")
    append_labels(house.directory, {"a": "benign", "b": "malignant"})
    assert (house.arm().labelled, house.arm().mistakes) == (2, 1)


@pytest.mark.parametrize(
    ("served", "copy", "differences"),
    [
        pytest.param(100.0, 120.0, 0, id="closer-than-a-mistake"),
        pytest.param(100.0, 151.0, 1, id="farther-apart"),
        pytest.param("benign", "malignant", 1, id="another-class"),
    ],
)
def test_two_answers_to_one_request_are_compared(house: House, served: Any, copy: Any, differences: int) -> None:
    """A mirror answers the same request id in the same epoch; other pairs are nobody's."""
    house.log("h-1", "a", served)
    house.log("h-2", "a", copy)
    house.log("h-2", "a", copy, epoch="other")
    house.log("h-1", "b", served)
    assert house.arm().mirrored_differences == differences


@given(st.permutations(range(8)), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_copy_is_compared_with_its_original_and_no_other(order: list[int], called: bool) -> None:
    """Ids are each server's own, and the headers' id pairs; where it repeats nothing is compared, in whatever order
    the lines come; an id of a V2 body that repeats does not stand in the way."""
    lines = [("h-1", "a", 100.0), ("h-2", "a", 900.0), *[(name, "b", 100.0) for name in ("h-1", "h-1")]]
    lines += [("h-2", "b", 900.0), ("h-2", "b", 900.0), ("h-1", "c", 100.0), ("h-2", "c", 120.0)]
    with tempfile.TemporaryDirectory() as directory:
        house = House(Path(directory))
        for i in order:
            revision, name, value = lines[i]
            ids = {"correlation_id": "1", "header_id": name} if called else {"correlation_id": name}
            house.log(revision, f"own-{i}", value, **ids)
        assert house.arm().mirrored_differences == 1


def test_a_pair_counts_at_once_and_is_taken_back_when_its_id_repeats(house: House) -> None:
    """A shadow step may end by it; a second request of that name shows that the answers may be to different ones."""
    house.now = NOON
    house.log("h-1", "1", 100.0, correlation_id="a")
    house.log("h-2", "2", 900.0, correlation_id="a")
    assert house.arm().mirrored_differences == 1
    house.log("h-1", "3", 900.0, correlation_id="a")
    assert house.arm().mirrored_differences == 0
    house.log("h-2", "4", 100.0, correlation_id="a")
    assert house.arm().mirrored_differences == 0


@pytest.mark.parametrize("labels_first", [True, False], ids=["label-first", "answer-first"])
def test_a_label_finds_its_answer_by_either_id_and_no_wrong_one(tmp_path: Path, labels_first: bool) -> None:
    """By the server's id always, by the caller's where it names one answer."""
    house = House(tmp_path)
    truths = {"own-1": 100.0, "mine": 100.0, "twice": 900.0, "own-4": 100.0}
    if labels_first:
        append_labels(house.directory, truths)
    house.log("h-2", "own-1", 100.0)
    house.log("h-2", "own-2", 100.0, correlation_id="mine")
    for name in ("own-3", "own-4", "own-5"):
        house.log("h-2", name, 100.0, correlation_id="twice")
    if not labels_first:
        append_labels(house.directory, truths)
    arm = house.arm()
    assert (arm.labelled, arm.mistakes) == (3, 0)


def test_a_value_finds_its_answer_by_either_id_and_no_wrong_one(house: House) -> None:
    """As a label does, also where the other variant answered the second request of that name."""
    append_values(house.directory, {"own-1": 1.0, "mine": 2.0, "twice": 100.0})
    house.log("h-2", "own-1", 100.0)
    house.log("h-2", "own-2", 100.0, correlation_id="mine")
    house.log("h-2", "own-3", 100.0, correlation_id="twice")
    house.log("h-1", "own-4", 100.0, correlation_id="twice")
    house.log("h-1", "own-5", 100.0, correlation_id="mine", epoch="other")
    assert _moments(house.directory, "e", "h-2", Tally()) == Moments(2, 3.0, 5.0)
    assert _moments(house.directory, "e", "h-1", Tally()) == Moments(0, 0.0, 0.0)


def test_a_reader_that_starts_anew_comes_to_the_same_figures(house: House) -> None:
    """Nothing is remembered outside of the logs."""
    house.log("h-1", "a", 1.0)
    house.log("h-2", "a", 900.0)
    house.extras.read()
    append_labels(house.directory, {"a": 900.0})
    house.log("h-2", "b", None)
    assert house.again().read() == house.extras.read()


def test_a_line_in_the_writing_is_read_when_it_is_whole(house: House) -> None:
    """And a line that is none is passed over."""
    house.log("h-2", "a", 1.0)
    path = service_paths(house.directory).predictions / "h-2" / "predictions-1.jsonl"
    line = json.dumps({"request_id": "b", "row": 0, "time": "x", "prediction": 150.0, "epoch": "e"})
    with path.open("a") as file:
        file.write(f"no json\n{{}}\n{line[:20]}")
    assert house.arm().bins == {"<= 100": 1}
    with path.open("a") as file:
        file.write(f"{line[20:]}\n")
    assert house.arm().bins == {"<= 100": 1, "<= 200": 1}


def test_a_store_that_does_not_answer_is_asked_again(house: House) -> None:
    """Nothing is counted under bins that are not known yet."""
    answers = [InfrastructureError("the store is away")]

    def bundle(_: Revision) -> Path:
        if answers:
            raise answers.pop()
        return house.bundle

    house.log("h-2", "a", 1.0)
    extras = LogExtras(house.directory, bundle)
    assert extras.read() == {}
    assert house.arm(extras=extras).bins == {"<= 100": 1}


def test_a_bundle_without_profile_bins_classes_only(tmp_path: Path) -> None:
    """No number is binned or wrong without something to compare with."""
    house = House(tmp_path, profile=None)
    house.log("h-2", "a", 1.0)
    append_labels(house.directory, {"a": 1e9})
    assert (house.arm().bins, house.arm().labelled, house.arm().mistakes) == ({}, 1, 0)


def test_a_mistake_is_larger_than_the_usual_error() -> None:
    """The bound is the least edge that surely holds nine errors in ten."""
    assert reference_of(PROFILE) == Reference((100.0, 200.0), 50.0)
    assert typical(NumericHistogram(edges=(-1.0, 1.0), counts=(0, 0, 0)), 0.9) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.data())
def test_a_tail_gives_each_line_once(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: Any) -> None:
    """However the writing is cut into pieces."""
    lines = [b"x" * size + b"%d" % number for number, size in enumerate(sizes)]
    whole = b"\n".join(lines) + b"\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    path, tail, found = tmp_path_factory.mktemp("tail") / "log", Tail(), []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        with path.open("ab") as file:
            file.write(whole[begin:end])
        found += list(tail.read(path))
    assert found == lines


def test_a_model_fault_is_the_arms_error_and_a_refusal_is_a_bin_of_its_own(tmp_path: Path) -> None:
    """A prediction that is no number is answered with 400 and marked, so that the arm and not the caller is blamed."""
    with pytest.raises(Refusal) as told:
        encode._all_finite(np.array([1.0, np.nan]))
    assert (told.value.status, dict(told.value.headers)) == (400, {b"x-model-fault": b"prediction"})
    where = service_paths(tmp_path)
    where.prepare()
    lines: list[dict[str, Any]] = [
        {"s": 400, "m": "prediction"},
        {"s": 400, "m": None},
        {"s": 429},
        {"s": 200, "m": None},
    ]
    text = "".join(json.dumps({"r": "split|e", "c": "h-2", "f": "-", "d": 3, **line}) + "\n" for line in lines)
    where.access_log.write_text(text)
    assert EnvoyBackend(tmp_path).counters().epochs["e"]["h-2"] == ArmCounts(requests=4, errors=1, bins={"refused": 2})


def test_labels_have_their_own_file(house: House) -> None:
    """One line per label, beside the service."""
    append_labels(house.directory, {"a": 1.5})
    assert json.loads(labels_file(house.directory).read_text()) == {"request_id": "a", "truth": 1.5}

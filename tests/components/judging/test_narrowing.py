"""What a new contract refuses that the old one took."""

import itertools
from typing import Any

import pytest

from components.judging.gates import GateReport
from components.judging.narrowing import narrowed
from serving.contract import Column, Contract, Target
from serving.predictor.rows.validate import Checker

OLD: dict[str, Any] = {
    "size": {"type": "float", "range": (0, 500)},
    "kind": {"type": "category", "values": ("flat", "house", "barn")},
    "age": {"type": "int", "nullable": True},
    "area": {"type": "float", "range": (0, 9), "out_of_range": "clip"},
    "tone": {"type": "category", "values": ("dark", "light"), "unknown": "flag"},
}
CLASSES = ("no", "yes", "maybe")


def contract(classes: tuple[str, ...] = CLASSES, **changes: dict[str, Any] | None) -> Contract:
    columns = {name: OLD.get(name, {}) | (changes.get(name) or {}) for name in {**OLD, **changes}}
    kept = {name: Column(**one) for name, one in columns.items() if changes.get(name, {}) is not None}
    return Contract(columns=kept, target=Target(name="y", classes=classes))


CASES = [
    pytest.param(contract(), [], id="the-same"),
    pytest.param(contract(kind={"values": ("barn", "flat", "house", "tent")}), [], id="categories-added"),
    pytest.param(contract(size={"range": (-1, 501)}), [], id="range-widened"),
    pytest.param(contract(size={"range": None}), [], id="range-gone"),
    pytest.param(contract(size={"range": (1, 5), "out_of_range": "flag"}), [], id="beyond-its-range-flagged"),
    pytest.param(contract(kind={"nullable": True}), [], id="nullable-now"),
    pytest.param(contract(age={"type": "float"}), [], id="whole-numbers-are-numbers"),
    pytest.param(contract(floor={"type": "int", "nullable": True}), ["floor is needed now"], id="null-is-said-too"),
    pytest.param(contract(floor={"type": "int"}), ["floor is needed now"], id="a-column-that-is-needed"),
    pytest.param(contract(kind=None), ["kind is not taken any more"], id="a-column-gone"),
    pytest.param(contract(kind=None, age=None), ["kind, age are not taken any more"], id="columns-gone"),
    pytest.param(contract(size={"range": (10, 400)}), ["size must lie in [10, 400]"], id="range-narrowed"),
    pytest.param(contract(age={"range": (0, 1234567)}), ["age must lie in [0, 1234567]"], id="a-range-now"),
    pytest.param(contract(area={"out_of_range": "refuse"}), ["area must lie in [0, 9]"], id="refused-now"),
    pytest.param(contract(kind={"values": ("house",)}), ["kind no longer takes flat, barn"], id="categories-gone"),
    pytest.param(contract(kind={"values": ("house",), "unknown": "flag"}), [], id="unknown-ones-flagged"),
    pytest.param(
        contract(tone={"unknown": "refuse"}), ["tone takes no other categories any more"], id="unknown-refused-now"
    ),
    pytest.param(contract(age={"nullable": False}), ["age may not be missing any more"], id="nullable-no-longer"),
    pytest.param(contract(size={"type": "int"}), ["size is int instead of float"], id="another-type"),
    pytest.param(contract(size={"unit": "m2"}), ["size is in m2 instead of no unit"], id="another-unit"),
    pytest.param(contract(classes=("yes", "no")), ["y no longer takes maybe"], id="a-class-gone"),
]


@pytest.mark.parametrize(("new", "said"), CASES)
def test_what_a_new_contract_refuses_is_said(new: Contract, said: list[str]) -> None:
    """One phrase for each thing that the old one took, and none for what it takes as well."""
    assert list(narrowed(contract(), new)) == said


TAKEN = {
    "size": (0, 0.5, 500),
    "kind": OLD["kind"]["values"],
    "age": (None, -5, 3, 10**7),
    "area": (-1, 5),
    "tone": ("dark", "lilac"),
}


@pytest.mark.parametrize("new", [pytest.param(case.values[0], id=case.id) for case in CASES])
def test_no_request_is_refused_of_which_nothing_is_said(new: Contract) -> None:
    """The model server is asked about what the old contract took, value by value; it decides what is refused."""
    old, now, said = Checker(contract()), Checker(new), list(narrowed(contract(), new))
    for cells in itertools.product(*TAKEN.values()):
        row = dict(zip(TAKEN, cells, strict=True))
        assert not old.row(row, 0, "")[1]
        assert said or not now.row(row, 0, "")[1], row


def test_a_sentence_does_not_grow_with_the_contract() -> None:
    """Of 5,000 columns gone or narrowed a person reads a dozen and a number; the record has all phrases."""
    wide: dict[str, Any] = {f"c{place}": {"type": "float"} for place in range(5_000)}
    assert list(narrowed(contract(CLASSES, **wide), contract())) == [
        f"{', '.join(f'c{place}' for place in range(12))} and 4,988 more are not taken any more"
    ]
    narrow: dict[str, Any] = {name: one | {"range": (0, 1)} for name, one in wide.items()}
    report = GateReport(
        accepted=True, sentence="", narrowed=tuple(narrowed(contract(CLASSES, **wide), contract(CLASSES, **narrow)))
    )
    assert len(report.narrowed) == 5_000
    (notice,) = report.notices
    assert notice.endswith("c11 must lie in [0, 1] and 4,988 more")

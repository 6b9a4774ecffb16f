"""What a new contract refuses that the old one took."""

from typing import Any

import pytest

from components.judging.gates import GateReport
from components.judging.narrowing import narrowed
from serving.contract import Column, Contract, Target

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


@pytest.mark.parametrize(
    ("new", "said"),
    [
        pytest.param(contract(), [], id="the-same"),
        pytest.param(contract(kind={"values": ("barn", "flat", "house", "tent")}), [], id="categories-added"),
        pytest.param(contract(size={"range": (-1, 501)}), [], id="range-widened"),
        pytest.param(contract(size={"range": None}), [], id="range-gone"),
        pytest.param(contract(size={"range": (1, 5), "out_of_range": "flag"}), [], id="beyond-its-range-flagged"),
        pytest.param(contract(kind={"nullable": True}), [], id="nullable-now"),
        pytest.param(contract(age={"type": "float"}), [], id="whole-numbers-are-numbers"),
        pytest.param(contract(floor={"type": "int", "nullable": True}), [], id="a-column-that-may-be-missing"),
        pytest.param(contract(floor={"type": "int"}), ["floor is needed now"], id="a-column-that-is-needed"),
        pytest.param(contract(kind=None), ["kind is not used any more"], id="a-column-gone"),
        pytest.param(contract(kind=None, age=None), ["kind, age are not used any more"], id="columns-gone"),
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
    ],
)
def test_what_a_new_contract_refuses_is_said(new: Contract, said: list[str]) -> None:
    """One phrase for each thing that the old one took, and none for what it takes as well."""
    assert list(narrowed(contract(), new)) == said


def test_a_sentence_does_not_grow_with_the_contract() -> None:
    """Of 5,000 columns gone or narrowed a person reads a dozen and a number; the record has all phrases."""
    wide: dict[str, Any] = {f"c{place}": {"type": "float"} for place in range(5_000)}
    assert list(narrowed(contract(CLASSES, **wide), contract())) == [
        f"{', '.join(f'c{place}' for place in range(12))} and 4,988 more are not used any more"
    ]
    narrow: dict[str, Any] = {name: one | {"range": (0, 1)} for name, one in wide.items()}
    report = GateReport(
        accepted=True, sentence="", narrowed=tuple(narrowed(contract(CLASSES, **wide), contract(CLASSES, **narrow)))
    )
    assert len(report.narrowed) == 5_000
    (notice,) = report.notices
    assert notice.endswith("c11 must lie in [0, 1] and 4,988 more")

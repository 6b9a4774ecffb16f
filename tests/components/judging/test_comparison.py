"""The champion beside a candidate whose contract is another one: the same rows, each by its own contract."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.split import SplitPolicy, decide, split
from components.data.split_rule import SplitRule
from components.judging.answers import scored
from components.judging.comparison import beside, compare
from components.judging.gates import Gate
from serving.bundle.judgement import Judgement
from serving.contract import Column, Contract, Matrix, Target
from serving.errors import GateRefusal
from serving.store.store import StoreKeyError

KINDS = ["flat", "house", "flat", "barn"]
ROWS = pl.DataFrame(
    {
        "id": [f"{place:03}" for place in range(400)],
        "size": [str(10 + place) for place in range(400)],
        "kind": KINDS * 100,
        "age": ["1", "2", "", "4"] * 100,
        "price": [str(10 * (10 + place) + place % 7) for place in range(400)],
    }
)
SIZE, KIND = Column(type="float"), Column(type="category", values=("flat", "house"))
OLD = Contract(columns={"size": SIZE, "kind": KIND}, target=Target(name="price"))
BARNS = KIND.model_copy(update={"values": ("barn", "house", "flat")})
NEW = Contract(columns={"size": SIZE, "kind": BARNS}, target=Target(name="price"))
RANDOM = SplitPolicy(by="random", holdout=0.25)
NOTHING = SplitRule(policy=SplitPolicy(by="random", holdout=0.999999), seed=0)
RMSE = [Gate(metric="rmse", against="champion")]


def bundle(contract: Contract, score: Any, rule: SplitRule | None = None) -> Any:
    """A model that was trained on next to nothing, unless a *rule* says on what."""
    kept = rule or NOTHING.model_copy(
        update={"identity": decide(lambda function: [function(ROWS)], RANDOM, OLD, 0).rule.identity}
    )
    return SimpleNamespace(
        contract=contract, scorer=SimpleNamespace(score=score), split=kept.model_dump_json(), judgement=Judgement()
    )


def by_size(matrix: Matrix) -> Matrix:
    """10 for each unit of size, and 5 more for a flat by the old contract's code."""
    return matrix[:, 0] * 10 + 5 * (matrix[:, 1] == 0)


def plain(matrix: Matrix) -> Matrix:
    return matrix[:, 0] * 10


def truth(rows: pl.DataFrame) -> Any:
    return rows["price"].cast(float).to_numpy(), rows["size"].cast(float).to_numpy()


def test_the_champion_is_asked_by_its_own_contract_about_the_rows_that_both_take() -> None:
    """Its score is the one computed by hand; the candidate is judged on the same rows, and the others are counted."""
    candidate = bundle(NEW, plain)
    found = compare(ROWS, scored(candidate, ROWS, ()), candidate, bundle(OLD, by_size), ())
    both = ROWS.filter(pl.col("kind") != "barn")
    price, size = truth(both)
    errors = size * 10 + 5 * (both["kind"] == "flat").to_numpy() - price
    assert found.champion is not None
    assert found.champion.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean(errors**2.0))))
    assert found.candidate.metrics["mae"] == pytest.approx(float(np.mean(np.abs(size * 10 - price))))
    assert found.candidate.rows_digest == found.champion.rows_digest
    assert found.sentence == "compared with the champion on 300 of 400 rows: its contract refuses 100"


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"size": SIZE, "kind": BARNS, "age": Column(type="int", nullable=True)}, id="a-column-more"),
        pytest.param({"size": SIZE}, id="a-column-less"),
        pytest.param({"kind": BARNS, "size": SIZE}, id="another-order"),
        pytest.param({"size": SIZE.model_copy(update={"range": (0.0, 1e9)}), "kind": BARNS}, id="another-range"),
    ],
)
def test_rows_that_both_take_are_all_compared(columns: dict[str, Column]) -> None:
    """Whatever the encoding of the candidate."""
    contract, rows = NEW.model_copy(update={"columns": columns}), ROWS.filter(pl.col("kind") != "barn")
    place = list(columns).index("size")
    candidate = bundle(contract, lambda matrix: matrix[:, place] * 10)
    judged = scored(candidate, rows, ())
    found = compare(rows, judged, candidate, bundle(OLD, by_size), ("kind",))
    assert found.champion is not None
    assert (found.sentence, found.champion.rows, found.candidate) == ("", 300, judged)
    assert found.champion.rows_digest == judged.rows_digest


CHANGED = {
    "nothing": (ROWS, OLD),
    "a-column-of-the-table-more": (ROWS.with_columns(loaded_at=pl.lit("2026-11-30")), OLD),
    "a-column-of-table-and-contract-more": (
        ROWS.with_columns(floor=pl.col("size").str.slice(1)),
        OLD.model_copy(update={"columns": {**OLD.columns, "floor": SIZE}}),
    ),
    "an-unused-column-gone": (ROWS.drop("age", "id"), OLD),
    "an-unused-column-with-other-values": (ROWS.with_columns(age=pl.lit("9")), OLD),
    "other-types": (ROWS.with_columns(pl.col("size").cast(float), pl.col("price").cast(int)), OLD),
    "other-spellings": (ROWS.with_columns(pl.col("price") + ".00", size=pl.format(" {}.0", "size")), OLD),
    "columns-in-another-order": (ROWS.select(sorted(ROWS.columns)), OLD),
    "categories-reordered": (ROWS, NEW),
    "a-column-of-the-contract-less": (ROWS, OLD.model_copy(update={"columns": {"kind": KIND}})),
    "a-key": (ROWS, OLD.model_copy(update={"key": "id"})),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("changed", CHANGED)
@pytest.mark.parametrize("key", [None, "id"])
def test_a_champion_is_never_judged_on_rows_it_trained_on(changed: str, key: str | None, seed: int) -> None:
    """Whatever became of the table, the contract and the seed; and with the same seed no row changes its side."""
    table, contract = CHANGED[changed]
    if key and key not in table.columns:
        pytest.skip("a table without its key is another case")
    first, old = decide(lambda function: [function(ROWS)], RANDOM, keyed(OLD, key), 0), keyed(OLD, key)
    learned = set(np.flatnonzero(first.sides(ROWS).train).tolist())
    again = decide(
        lambda function: [function(table)], RANDOM, keyed(contract, key or contract.key), seed, first.rule.identity
    )
    held = again.sides(table).held
    marked = table.with_columns(number=pl.Series(range(table.height))).filter(pl.Series(held))
    rule = SplitRule.model_validate_json(first.rule.model_dump_json())
    asked = set(marked.filter(rule.unseen(marked, old))["number"])
    assert asked
    assert not asked & learned
    if seed == 0 and key == contract.key:
        assert asked == set(marked["number"]), "all held-out rows were held out before"


def keyed(contract: Contract, key: str | None) -> Contract:
    return contract.model_copy(update={"key": key})


def test_rows_that_only_an_unused_column_tells_apart_are_told_apart_by_it() -> None:
    """Three combinations of categories among 300 rows: without the id one of them would be wholly unknown."""
    flat = pl.DataFrame({"id": range(300), "kind": ["a", "b", "b"] * 100, "y": ["no", "yes", "no"] * 100})
    contract = Contract(
        columns={"kind": Column(type="category", values=("a", "b"))}, target=Target(name="y", classes=("no", "yes"))
    )
    parts = split(flat, RANDOM, contract, 3)
    assert 0.15 < parts.holdout.height / 300 < 0.35
    assert parts.train.select("kind", "y").unique().height == 3


@pytest.mark.parametrize(
    ("contract", "rule", "rows", "why"),
    [
        pytest.param(
            OLD.model_copy(update={"columns": {"size": SIZE, "floor": SIZE}}),
            None,
            ROWS,
            "the table no longer has its floor",
            id="a-column-gone",
        ),
        pytest.param(
            OLD.model_copy(update={"columns": {"kind": KIND.model_copy(update={"values": ("tent",)})}}),
            None,
            ROWS,
            "of 400 rows 0 are left: its contract refuses 400",
            id="no-row-fits",
        ),
        pytest.param(OLD.model_copy(update={"target": Target(name="age")}), None, ROWS, "it predicts age", id="target"),
        pytest.param(
            OLD.model_copy(update={"target": Target(name="price", unit="kEUR")}),
            None,
            ROWS,
            "it predicts price in kEUR",
            id="unit",
        ),
        pytest.param(
            keyed(OLD, "parcel"),
            SplitRule(policy=RANDOM, seed=0),
            ROWS,
            "the table no longer has its parcel, which tells on which rows it was trained",
            id="its-key-gone",
        ),
        pytest.param(
            keyed(OLD, "id"),
            SplitRule(policy=SplitPolicy(by="random", holdout=0.02), seed=0),
            ROWS,
            "of 400 rows 5 are left: it may have been trained on 395",
            id="too-few-left",
        ),
        pytest.param(
            OLD,
            None,
            ROWS.with_columns(size=pl.lit([1.0])),
            "column 'size' has type",
            id="a-column-of-another-kind",
        ),
    ],
)
def test_where_the_champion_cannot_be_asked_the_floors_decide(
    contract: Contract, rule: SplitRule | None, rows: pl.DataFrame, why: str
) -> None:
    """And it is said why."""
    candidate = bundle(OLD.model_copy(update={"columns": {"kind": BARNS}}), lambda matrix: matrix[:, 0] * 1000)
    judged = scored(candidate, rows, ())
    champion = bundle(contract, by_size, rule)
    verdict, theirs = beside(lambda: champion, lambda: candidate, lambda: rows, judged, RMSE, ())
    assert theirs is None
    assert why in verdict.unasked
    assert verdict.sentence == "accepted: its one gate holds, the champion cannot be asked"
    assert f"the champion cannot be asked, since {verdict.unasked}" in verdict.notices


@pytest.mark.parametrize("error", [GateRefusal("trained with scikit-learn 1.3"), StoreKeyError("it is not there")])
def test_a_champion_whose_bundle_does_not_load_cannot_be_asked(error: Exception) -> None:
    """A run goes on, and says it."""
    candidate = bundle(NEW, plain)

    def broken() -> Any:
        raise error

    verdict, theirs = beside(broken, lambda: candidate, lambda: ROWS, scored(candidate, ROWS, ()), RMSE, ())
    assert theirs is None
    assert verdict.unasked == f"its bundle does not load: {error}"


@pytest.mark.parametrize(
    ("old", "new", "judged_on"),
    [
        (("no", "yes"), ("yes", "no"), 400),
        (("no", "yes"), ("no", "yes", "maybe"), 300),
        (("no", "maybe", "yes"), ("no", "yes"), 300),
    ],
)
def test_classes_are_compared_by_their_names(old: tuple[str, ...], new: tuple[str, ...], judged_on: int) -> None:
    """Another order, a class more or one less: both are asked to tell those apart that both know."""
    three = len(old) + len(new) == 5
    words = ["no", "yes", "maybe" if three else "no", "yes"] * 100
    rows = ROWS.with_columns(price=pl.Series(words))
    columns = {"size": SIZE, "kind": BARNS}
    mine, theirs = (Contract(columns=columns, target=Target(name="price", classes=each)) for each in (new, old))

    def sure(contract: Contract) -> Any:
        """Says 0.7 of the true class, by the last digit of the size."""

        def score(matrix: Matrix) -> Matrix:
            true = [words[int(size) - 10] for size in matrix[:, 0]]
            spread = np.full((len(matrix), len(contract.target.classes)), 0.3 / (len(contract.target.classes) - 1))
            for row, word in enumerate(true):
                if word in contract.target.classes:
                    spread[row, contract.target.classes.index(word)] = 0.7
            return spread

        return score

    rows = rows.filter(pl.col("price").is_in(list(new)))
    rule = SplitRule(policy=NOTHING.policy, seed=0)
    candidate = bundle(mine, sure(mine))
    judged = scored(candidate, rows, ())
    found = compare(rows, judged, candidate, bundle(keyed(theirs, "id"), sure(theirs), rule), ())
    assert found.champion is not None, found.sentence
    assert found.champion.rows == judged_on
    for side in (found.champion, found.candidate):
        assert side.classes == tuple(name for name in new if name in old)
        assert (side.metrics["accuracy"], side.metrics["roc_auc"]) == (1.0, 1.0)
        assert side.metrics["log_loss"] == pytest.approx(-np.log(0.7))

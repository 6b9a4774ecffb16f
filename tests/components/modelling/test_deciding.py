"""Which class is answered: the one that is expected to cost least, where a project says what errors cost."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.judging import metrics
from components.judging.answers import ask
from components.judging.baselines import rivals
from components.judging.comparison import compare
from components.judging.gates import Gate, judge
from components.judging.said import Said
from components.modelling.deciding import Costs, Threshold
from components.modelling.saying import Besides, Says
from components.pages.besides import besides
from components.projects.project import from_text
from serving.bundle.judgement import Judgement, Learned
from serving.contract import Contract
from serving.errors import ConfigError

YESNO = Contract.model_validate(
    {"columns": {"x": {"type": "float"}}, "target": {"name": "y", "classes": ["no", "yes"]}}
)
PLANTS = Contract.model_validate(
    {"columns": {"x": {"type": "float"}}, "target": {"name": "y", "classes": ["a", "b", "c"]}}
)
DEAR = ((0.0, 1.0, 9.0), (1.0, 0.0, 1.0), (2.0, 1.0, 0.0))  # to take an a for a c is what must not happen
TABLES = st.integers(2, 5).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 9), min_size=n, max_size=n).filter(any),
        st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), min_size=n, max_size=n),
    )
)


@given(made=TABLES)
@example(made=([1, 4, 1, 4], [[int(k != a) for a in range(4)] for k in range(4)]))
def test_the_answer_is_the_first_of_those_that_cost_least(made: Any) -> None:
    """By exact arithmetic over all answers; equal costs that floats would tell apart are equal."""
    parts, table = made
    share = [Fraction(one, sum(parts)) for one in parts]
    expected = [sum(share[k] * table[k][answer] for k in range(len(parts))) for answer in range(len(parts))]
    judgement = Judgement(costs=tuple(tuple(map(float, row)) for row in table))
    assert judgement.decided(np.array([[float(one) for one in share]])).tolist() == [expected.index(min(expected))]


def test_a_row_alone_is_answered_as_it_is_among_others() -> None:
    """To the last bit, of any number of rows and classes."""
    random = np.random.default_rng(0)
    for classes in (2, 3, 17):
        chance = random.dirichlet(np.ones(classes), 400)
        chance[::7] = chance[::7].round(1)
        judgement = Judgement(costs=tuple(map(tuple, random.integers(0, 4, (classes, classes)).astype(float).tolist())))
        among = judgement.decided(chance)
        alone = [int(judgement.decided(chance[row : row + 1])[0]) for row in range(400)]
        assert among.tolist() == alone == judgement.decided(np.asfortranarray(chance)).tolist()


def test_of_two_classes_costs_answer_what_the_threshold_of_the_same_costs_answers() -> None:
    """Said as a level, and learned from probabilities that are what was observed."""
    chance = np.random.default_rng(1).random(3_000)
    both = np.column_stack([1 - chance, chance])
    said = Says(costs={"yes": {"no": 5}, "no": {"yes": 2}}).fixed(YESNO)
    level = Says(threshold=Threshold(at=2 / 7)).fixed(YESNO)
    np.testing.assert_array_equal(said.decided(both), level.decided(both))
    stated = np.repeat(np.arange(11) / 10, 10)
    truth = np.concatenate([np.arange(10) < k for k in range(11)]).astype(float)
    found: Any = SimpleNamespace(
        predicted=np.column_stack([1 - stated, stated]), target=truth, parts=np.arange(110) % 9
    )
    learned = Says(threshold=Threshold(cost=Costs(miss=5, false_alarm=2))).judgement(found, YESNO)
    np.testing.assert_array_equal(said.decided(found.predicted), learned.decided(found.predicted))
    assert said.costs == learned.costs == ((0, 2), (5, 0))


def test_cost_per_row_is_of_what_is_answered() -> None:
    """Counted by hand; unknown where nobody says what errors cost; what costs least costs less than the likeliest."""
    random = np.random.default_rng(2)
    chance = random.dirichlet([1, 1, 1], 2_000)
    truth = (random.random((2_000, 1)) > chance.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(float)
    said = Said.of(chance, Judgement(costs=DEAR))
    answered = np.argmax(said.answered, axis=1)
    by_hand = np.mean([DEAR[int(t)][a] for t, a in zip(truth, answered, strict=True)])
    seen = metrics.compute("classification", truth, said)
    assert seen["cost"] == pytest.approx(by_hand)
    assert seen["accuracy"] == np.mean(answered == truth)
    assert "cost" not in metrics.compute("classification", truth, chance)
    likeliest = metrics.METRICS["cost"].of(truth, replace(said, decided=None))
    assert seen["cost"] < 0.9 * likeliest


LOGITS = Contract.model_validate(
    {
        "key": "id",
        "columns": {name: {"type": "float"} for name in "abc"},
        "target": {"name": "y", "classes": ["a", "b", "c"]},
    }
)


def model(judgement: Judgement, classes: str = "abc") -> Any:
    """Says of each class what the column of its name says, trained on next to nothing."""

    def score(matrix: Any) -> Any:
        odds = np.exp(matrix)
        return (odds / odds.sum(axis=1, keepdims=True))[:, ["abc".index(one) for one in classes]]

    target = LOGITS.target.model_copy(update={"classes": tuple(classes)})
    rule = SplitRule(policy=SplitPolicy(by="random", holdout=0.999), seed=0)
    return SimpleNamespace(
        contract=LOGITS.model_copy(update={"target": target}),
        scorer=SimpleNamespace(score=score),
        split=rule.model_dump_json(),
        judgement=judgement,
    )


def rows(count: int = 900) -> pl.DataFrame:
    """Of which the columns say how likely each class is."""
    random = np.random.default_rng(3)
    odds = random.normal(size=(count, 3))
    chance = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    truth = (random.random((count, 1)) > chance.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    columns = dict(zip("abc", odds.T, strict=True))
    return pl.DataFrame({"id": [str(k) for k in range(count)], **columns, "y": [("a", "b", "c")[k] for k in truth]})


def test_a_champion_is_judged_by_the_candidates_costs() -> None:
    """One that answers the likeliest costs more, and loses a gate on cost, in whatever order it has the classes."""
    table, candidate = rows(), model(Judgement(costs=DEAR))
    judged = ask(candidate, table).evaluation(())
    for champion in (model(Judgement()), model(Judgement(), "cba"), model(Judgement(costs=((0.0,) * 3,) * 3))):
        found = compare(table, judged, candidate, champion, (), ["cost"])
        assert found.champion is not None
        gates = [Gate(metric="cost", against="champion", confidence=0.9)]
        verdict = judge(found.candidate, found.champion, gates, gains=found.gains)
        assert verdict.accepted
        assert found.champion.metrics["cost"] > 1.1 * found.candidate.metrics["cost"]


def test_without_a_model_the_cheapest_class_is_always_said() -> None:
    """A gate against the baseline compares with what costs least, not with the most frequent class."""
    table = rows()
    seen = ask(model(Judgement(costs=DEAR)), table)
    known = Learned(rows=900, constant=tuple(float(np.mean(seen.target == code)) for code in range(3)))
    rival = rivals(table, LOGITS, known, seen.predicted, seen.target, seen.parts)["baseline"]
    always = [float(np.mean([DEAR[int(t)][code] for t in seen.target])) for code in range(3)]
    assert rival.metrics["cost"] == pytest.approx(min(always))
    assert rival.gains["cost"].value == pytest.approx(min(always) - seen.evaluation(()).metrics["cost"])


def test_a_report_says_what_an_error_costs() -> None:
    """The dearest first; of a threshold the threshold is said."""
    seen = ask(model(Judgement(costs=DEAR)), rows()).evaluation(()).model_copy(update={"costs": DEAR})
    assert (
        "The answer is the class that is expected to cost least: a told as c 9, c told as a 2; other errors cost 1."
    ) in list(besides(seen))


PROJECT = """
name: plants
source: {uri: plants.csv}
contract: {target: {name: kind, classes: [setosa, versicolor, virginica]}, columns: {x: {type: float}}}
split: {by: random, holdout: 0.2}
model: {family: decision_tree}
"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(
            "costs: {setsoa: {virginica: 5}}",
            "project:7: costs.setsoa: no class 'setsoa' in the target; expected one of setosa, versicolor, virginica",
            id="unknown-truth",
        ),
        pytest.param("costs: {setosa: {iris: 5}}", "costs.setosa.iris: no class 'iris'", id="unknown-answer"),
        pytest.param("costs: {setosa: {setosa: 1}}", "costs.setosa.setosa: a right answer costs nothing", id="right"),
        pytest.param("costs: {setosa: {virginica: -1}}", "costs.setosa.virginica: expected", id="negative"),
        pytest.param("gates: [{metric: cost, at_most: 1}]", "costs: missing, and a gate or an alarm is on", id="gate"),
        pytest.param("search: {metric: cost}", "search.metric: trials only predict, and cost per row is", id="search"),
        pytest.param("threshold: {at: 0.3}", "threshold: is for a target of two classes, seen 3", id="threshold"),
    ],
)
def test_costs_that_mean_nothing_are_refused(more: str, words: str) -> None:
    """By the key as it is typed and its line."""
    with pytest.raises(ConfigError) as refused:
        from_text(PROJECT + more)
    assert words in str(refused.value)


def test_costs_are_of_classes_and_beside_no_threshold() -> None:
    """Numbers have none; of two classes one of the two keys says what is answered."""
    numbers = YESNO.model_copy(update={"target": YESNO.target.model_copy(update={"classes": ()})})
    given = Besides(costs={"yes": {"no": 5}})
    given.check_says(YESNO, ["cost"])
    Besides(threshold=Threshold(cost=Costs(miss=5, false_alarm=1))).check_says(YESNO, ["cost"])
    with pytest.raises(ConfigError, match="costs: is for a target of classes"):
        given.check_says(numbers, [])
    with pytest.raises(ConfigError, match="costs: and threshold: each say which class"):
        given.model_copy(update={"threshold": Threshold(at=0.2)}).check_says(YESNO, [])


def test_a_project_says_what_its_bundle_answers() -> None:
    """From the file to the table by the contract's order: one where nothing is said, nothing for right answers."""
    read = from_text(PROJECT + "costs: {setosa: {virginica: 5}, virginica: {setosa: 0}}")
    kept = Says.model_validate_json(read.says.model_dump_json()).fixed(read.contract)
    assert kept.costs == ((0, 1, 5), (1, 0, 1), (0, 1, 0))
    assert Judgement.model_validate_json(kept.model_dump_json()) == kept
    assert kept.decided(np.array([[0.3, 0.3, 0.4], [0.2, 0.3, 0.5]])).tolist() == [0, 0]

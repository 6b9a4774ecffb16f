"""Cross-validation that is dealt again: other folds, means over all of them, and how far these may be off."""

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.judging import metrics
from components.judging.evaluation import Evaluation
from components.judging.jackknife import quantile
from components.judging.said import Said
from components.modelling.crossing import crossed, over_deals
from components.modelling.saying import Says, said_besides
from components.pages.besides import besides
from components.projects.project import from_text
from serving.contract import Contract
from serving.errors import ConfigError

RULES = Contract.model_validate({"columns": {"x": {"type": "float"}}, "target": "y", "key": "id"})
RANDOM = SplitRule(policy=SplitPolicy(by="random", holdout=0.2), seed=0).model_dump_json()
GROUPED = SplitRule(policy=SplitPolicy(by="group", holdout=0.2), seed=0).model_dump_json()
FOLDS, NOISE = 5, 1.0


def table(rows: int, each: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"id": [str(k // each) for k in range(rows)]})


def least_squares(x: Any, y: Any) -> Any:
    def fit(chosen: Any) -> Any:
        weights = np.linalg.lstsq(x[chosen], y[chosen], rcond=None)[0]
        return lambda matrix: matrix @ weights

    return fit


def drawn(random: np.random.Generator, rows: int, width: int = 6) -> tuple[Any, Any]:
    x = random.normal(size=(rows, width))
    return x, x.sum(axis=1) + NOISE * random.normal(size=rows)


KEYLESS = RULES.model_copy(update={"key": None})


@pytest.mark.parametrize(
    ("rules", "rule", "each"),
    [(KEYLESS, RANDOM, 1), (RULES, RANDOM, 5), (RULES, GROUPED, 5)],
    ids=["rows", "keys", "groups"],
)
def test_each_deal_has_other_folds_in_which_every_row_is_predicted_once(rules: Contract, rule: str, each: int) -> None:
    """By a model that has not seen it nor its group; the first deal is what it was without repeats."""
    x, y = drawn(np.random.default_rng(0), 300)
    seen: list[Any] = []

    def fit(learned: Any) -> Any:
        seen.append(learned)
        return lambda matrix: np.full(len(matrix), len(seen) - 1.0)

    deals = [crossed(table(300, each), rules, rule, x, y, FOLDS, fit, deal) for deal in range(3)]
    for found in deals:
        assert found.rows.tolist() == list(range(300))
        for row, model in enumerate(found.predicted.astype(int)):
            assert row // each not in seen[model] // each
    again = crossed(table(300, each), rules, rule, x, y, FOLDS, fit)
    np.testing.assert_array_equal(deals[0].parts, again.parts)
    for one, other in itertools.combinations(deals, 2):
        both = np.column_stack([one.parts % FOLDS, other.parts % FOLDS])
        assert len(np.unique(both, axis=0)) > 3 * FOLDS


def test_figures_are_means_over_all_folds_with_the_corrected_error() -> None:
    """Counted by hand, from models fitted by hand."""
    x, y = drawn(np.random.default_rng(1), 120)
    asked = Says(folds=FOLDS, repeats=4)
    made = said_besides(asked, (table(120), RULES, RANDOM, x, y), least_squares(x, y))
    values, shares = [], []
    for deal in range(4):
        fold = crossed(table(120), RULES, RANDOM, x, y, FOLDS, least_squares(x, y), deal).parts % FOLDS
        for one in range(FOLDS):
            held = fold == one
            weights = np.linalg.lstsq(x[~held], y[~held], rcond=None)[0]
            values.append(np.sqrt(np.mean((x[held] @ weights - y[held]) ** 2)))
            shares.append(held.sum() / (~held).sum())
    mean, error = made.repeated["rmse"]
    assert mean == pytest.approx(np.mean(values))
    assert error == pytest.approx(np.sqrt((1 / 20 + np.mean(shares)) * np.var(values, ddof=1)))
    assert (made.repeats, made.folds) == (4, FOLDS)
    assert set(made.repeated) == {"rmse", "mae", "mape", "r2", "bias"}


def test_what_is_said_is_learned_from_the_first_deal() -> None:
    """Repeats tell more of a model and change nothing that it says."""
    x, y = drawn(np.random.default_rng(2), 300)
    training, fit = (table(300), RULES, RANDOM, x, y), least_squares(x, y)
    once, thrice = (said_besides(Says(folds=FOLDS, repeats=n, interval=0.9), training, fit) for n in (1, 3))
    assert once.repeated == {}
    assert "coverage" in thrice.repeated
    assert once.model_dump() == {**thrice.model_dump(), "repeated": {}, "repeats": 1}


def test_probabilities_are_judged_as_they_are_answered() -> None:
    """Calibrated, and by the class that is answered: where costs are said, the cost too."""
    random = np.random.default_rng(3)
    rules = RULES.model_copy(update={"target": RULES.target.model_copy(update={"classes": ("no", "yes")})})
    chance = random.random(400)
    truth = (random.random(400) < chance).astype(float)
    stated = np.column_stack([1 - chance**2, chance**2])
    asked = Says(folds=FOLDS, repeats=2, probabilities="sigmoid", costs={"yes": {"no": 5}})
    made = said_besides(asked, (table(400), rules, RANDOM, stated, truth), lambda learned: lambda matrix: matrix)
    said = Said.of(made.calibrated(stated), made)
    for name in ("cost", "accuracy", "log_loss"):  # folds of nearly one size: the mean of means is the mean
        assert made.repeated[name][0] == pytest.approx(metrics.METRICS[name].of(truth, said), rel=0.03)
    assert metrics.METRICS["log_loss"].of(truth, stated) > 1.1 * made.repeated["log_loss"][0]


def covered(tables: int, repeats: int) -> tuple[float, float]:
    """In which share of *tables* the error of a model of so many rows lies within the interval of its estimate:
    corrected, and as if all folds were independent."""
    rows, held = 60, np.zeros(2)
    learned = rows * (FOLDS - 1) // FOLDS
    random = np.random.default_rng(4)
    off = []
    for _ in range(4_000):
        x, y = drawn(random, learned)
        off.append(np.sum((np.linalg.lstsq(x, y, rcond=None)[0] - 1) ** 2))
    true = float(np.mean(np.sqrt(2 / np.pi * (NOISE**2 + np.array(off)))))  # of |error|, which is normal around 0
    many, ids = FOLDS * repeats, table(rows)
    for _ in range(tables):
        x, y = drawn(random, rows)
        deals = [crossed(ids, RULES, RANDOM, x, y, FOLDS, least_squares(x, y), deal) for deal in range(repeats)]
        mean, error = over_deals(deals, FOLDS, Said, RULES)["mae"]
        each = [np.mean(np.abs(d.predicted - d.target)[d.parts % FOLDS == k]) for d in deals for k in range(FOLDS)]
        usual = np.std(each, ddof=1) / np.sqrt(many)
        held += [abs(mean - true) <= quantile(0.975, many) * one for one in (error, usual)]
    corrected, plain = held / tables
    return float(corrected), float(plain)


def test_the_corrected_interval_covers_and_the_usual_one_does_not() -> None:
    """Nineteen of twenty should hold the truth; of ten deals taken as independent not even two in three do."""
    corrected, usual = covered(60, 10)
    assert corrected >= 0.9
    assert usual < 0.67


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [2, 5, 20])
def test_the_corrected_interval_covers_whatever_the_repeats(repeats: int) -> None:
    """The usual one covers less the more often the same rows are dealt."""
    corrected, usual = covered(400, repeats)
    assert 0.9 <= corrected <= 0.995
    assert usual < corrected - 0.1


PROJECT = """
name: homes
source: {uri: homes.csv}
contract: {key: id, event_time: at, target: price, columns: {x: {type: float}}}
model: {family: ridge}
"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(
            "split: {by: time, holdout: 30d}\nevaluation: {folds: 5, repeats: 2}",
            "project:7: evaluation.repeats: rows that are split by time have one order and are dealt once",
            id="by-time",
        ),
        pytest.param("split: {}\nevaluation: {repeats: 2}", "evaluation: repeats: needs folds of 2", id="no-folds"),
    ],
)
def test_repeats_that_mean_nothing_are_refused(more: str, words: str) -> None:
    """By the key and its line."""
    with pytest.raises(ConfigError) as refused:
        from_text(PROJECT + more)
    assert words in str(refused.value)


def test_the_page_says_what_the_figures_are() -> None:
    """From the project to the sentence: of how many deals and folds, and how far off by Student's t."""
    read = from_text(PROJECT + "split: {by: group}\nevaluation: {folds: 5, repeats: 4}")
    assert (read.says.folds, read.says.repeats) == (5, 4)
    facts: dict[str, Any] = {"task": "regression", "target": "price", "unit": "EUR", "rows": 9, "metrics": {}}
    seen = Evaluation(**facts, folds=5, repeats=4, repeated={"rmse": (10.0, 1.0)})
    (told,) = besides(seen)
    assert told == "Means over the folds of 4 deals of the training rows to 5 folds: RMSE 10 EUR ± 2.093 EUR."

"""The report of a run and the page of the tour: whole, harmless, the same each time, and nothing left unsaid."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape
from xml.etree import ElementTree

import numpy as np
import pytest

from components.data.quarantine_report import Freshness, ReasonCount, Report, quarantine_page
from components.data.snapshots import Snapshot
from components.judging.evaluation import Evaluation, evaluate
from components.judging.gates import Gate, judge
from components.judging.importance import Contributions
from components.modelling.search.tuning_values import Trial, Tuning
from components.pages.evaluation_plots import evaluation_plots, trials_plot
from components.pages.run_facts import RunFacts
from components.pages.run_page import run_page
from components.pages.story_page import ErrorOverTime, RunLine, Story, StoryLine, story_page
from components.pages.watch_page import watch_page
from components.steps.provenance import Environment
from serving.contract import Contract
from serving.rollout.telling.explain import RolloutStatus, status
from tests.components.watching.test_watching import look
from tests.serving.rollout.support import Bench

EVIL = "<script>alert('&')</script>"
NOW = datetime(2026, 6, 1, 9, 30, 12, tzinfo=UTC)
ROWS = 240
GATES = (
    Gate(metric="rmse", at_most=60),
    Gate(metric="r2", at_least=0.5),
    Gate(metric="bias", at_most=10),
    Gate(metric="rmse", slice="kind", worst=80),
    Gate(metric="rmse", against="champion"),
)
FLOORS = (Gate(metric="roc_auc", at_least=0.6), Gate(metric="log_loss", at_most=2))


def contract(classes: tuple[str, ...] = (), column: str = "kind") -> Contract:
    columns = {column: {"type": "category", "values": ["house", "flat"]}, "area": {"type": "float"}}
    return Contract.model_validate({"columns": columns, "target": {"name": "y", "unit": "EUR", "classes": classes}})


def evaluation(noise: float, classes: tuple[str, ...] = (), column: str = "kind") -> Evaluation:
    random = np.random.default_rng(5)
    matrix = np.column_stack([random.integers(0, 2, ROWS), random.uniform(0, 1, ROWS)]).astype(float)
    if classes:
        target = random.integers(0, 2, ROWS).astype(float)
        sure = np.clip(0.5 + (target - 0.5) * 0.6 + random.normal(0, noise, ROWS), 0.01, 0.99)
        return evaluate(np.column_stack([1 - sure, sure]), target, matrix, contract(classes, column), [column])
    target = random.normal(1_000, 200, ROWS)
    return evaluate(target + random.normal(0, noise, ROWS), target, matrix, contract(column=column), [column])


def facts(
    noise: float = 40, champion: float | None = 50, classes: tuple[str, ...] = (), column: str = "kind"
) -> RunFacts:
    """A run whose candidate is off by *noise*, judged against a champion that is off by *champion*."""
    ours = evaluation(noise, classes, column)
    theirs = None if champion is None else evaluation(champion, classes, column)
    gates = FLOORS if classes else tuple(one for one in GATES if one.slice in (None, column))
    metric = "log_loss" if classes else "rmse"
    trials = tuple(Trial(number=k, params={"depth": k}, value=v) for k, v in enumerate((3.0, None, 2.0, 2.5)))
    return RunFacts(
        name="housing",
        command="slipway run --project p.yaml --source a.csv --as-of 2026-06-01 --window 60d",
        run_id="07",
        settings={
            "problem": {"objective": "Price a home.", "success": {"metric": metric, "at_most": 100, "at_least": None}},
            "split": {"by": "time", "holdout": "60d"},
            "model": {"family": "hist_gradient_boosting", "params": {"max_iter": 300}},
            "gates": [gate.model_dump(mode="json") for gate in gates],
        },
        snapshot=Snapshot(id="5a" * 32, rows=1_240, columns=(column, "area", "y"), types=(), parts=(), source="a.csv"),
        validation=Report(
            rows=1_240,
            accepted=1_200,
            quarantined=40,
            reasons=(
                ReasonCount(column="area", reason="out of range", rows=38, expected="a number", examples=("9600",)),
                ReasonCount(column="", reason="duplicate row", rows=2, expected="each once", examples=("seen before",)),
            ),
            freshness=Freshness(oldest="2024-01-01", newest="2026-05-31", age_days=1.0),
            as_of="2026-06-01T00:00:00+00:00",
        ),
        tuning=Tuning(
            trials=trials, best_params={"depth": 2}, best_score=2.0, baseline_score=3.0, metric=metric, unit="EUR",
            direction="minimize", validation="three folds",
        ),
        evaluation=ours,
        champion=theirs,
        champion_version=None if theirs is None else 3,
        decision=judge(ours, theirs, gates),
        digest="b0" * 32,
        provenance={"commit": "c0ffee+changes", "split": "ab" * 32, "configuration": "cd" * 32, "code": "ef" * 32,
                    "seed": 42, "rows": 950},
        environment=Environment(python="3.11.7", libraries={"numpy": "2.4.6"}, lock="10" * 32),
        ended=NOW,
    )  # fmt: skip


def story(word: str = "housing") -> Story:
    bench = Bench()
    bench.to("step")
    bench.look()
    seen = status(bench.state, bench.now)
    gate = seen.evidence.gates[0]

    def step(at: float, share: float, canary: int, stable: int) -> tuple[float, RolloutStatus]:
        split = {seen.candidate: share, seen.stable: 100 - share}
        counted = gate.model_copy(update={"canary": (canary, 1), "stable": (stable, 2)})
        told = {
            "configured": split,
            "observed": split,
            "realized": split,
            "harm": 0.31,
            "excess": 0.0042,
            "phase": word,
        }
        return at, seen.model_copy(update={**told, "evidence": seen.evidence.model_copy(update={"gates": (counted,)})})

    return Story(
        title=f"Tour {word}",
        started=NOW,
        ended=NOW + timedelta(seconds=187),
        summary=f"{word} took over",
        events=(StoryLine(9, word, "begins"), StoryLine(74.6, "watch", f"{word} degraded", "alarm")),
        runs=(RunLine(f"run 01 {word}", "RMSE 42,105", True, "runs/01/report.html"),),
        error=ErrorOverTime("RMSE", ["w1", "w2", word], {"before": [1.0, 2.0, None], word: [None, None, 3.0]}, word, 2),
        canary=(step(120, 5, 310, 5_890), step(130, 100, 7_010, 0)),
        candidate=word,
        requests={word: 12_345},
        latency_ms={"p99": 1.42},
        addresses=((word, "http://127.0.0.1:8080"),),
        next_commands=((word, "try it"),),
    )


PAGES: dict[str, Callable[[], str]] = {
    "accepted": lambda: run_page(facts()),
    "refused": lambda: run_page(facts(noise=90)),
    "first-version": lambda: run_page(facts(champion=None)),
    "classification": lambda: run_page(facts(noise=0.2, champion=0.3, classes=("no", "yes"))),
    "no-search": lambda: run_page(replace(facts(), tuning=Tuning())),
    "bare-settings": lambda: run_page(replace(facts(), settings={}, provenance={})),
    "quarantine": lambda: quarantine_page(facts().validation),
    "nothing-quarantined": lambda: quarantine_page(Report(rows=9, accepted=9, quarantined=0, as_of="2026-06-01")),
    "watch": lambda: watch_page(look(error=20.0)),
    "watch-of-nothing": lambda: watch_page(look(n=0)),
    "tour": lambda: story_page(story()),
    "empty-tour": lambda: story_page(Story("Tour", NOW, NOW)),
}
pages = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())


def words(page: str) -> str:
    """What a person reads: the text of the body, without markup and styles."""
    root = ElementTree.fromstring(page)
    for parent in root.iter():
        for child in [one for one in parent if one.tag.endswith("style")]:
            parent.remove(child)
    return " ".join(" ".join(root.itertext()).split())


@pages
def test_a_page_is_whole_and_needs_nothing_from_elsewhere(page: Callable[[], str]) -> None:
    """It parses, has no scripts, and loads and links to nothing outside."""
    made = page()
    root = ElementTree.fromstring(made)
    assert made.startswith("<!DOCTYPE html>")
    assert not [one.tag for one in root.iter() if re.search(r"(script|iframe|object|link|img)$", one.tag)]
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(\w+:|//)""", made)
    assert not re.search(r"@import|url\(|\son\w+=", made)


@pages
def test_the_same_facts_give_the_same_bytes(page: Callable[[], str]) -> None:
    """A report can be compared with the one of another place."""
    assert page() == page()


@pages
def test_every_id_on_a_page_is_unique(page: Callable[[], str]) -> None:
    """A reader that follows labels lands on the right picture."""
    ids = [one.get("id") for one in ElementTree.fromstring(page()).iter() if one.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("noise", [40, 90], ids=["accepted", "refused"])
def test_the_decision_comes_first_and_every_check_with_its_verdict(noise: float) -> None:
    """The sentence is in the page's description, the verdict above everything else, each check with pass or fail."""
    run = facts(noise=noise)
    made = run_page(run)
    seen = words(made)
    assert f'content="{escape(run.decision.sentence)}"' in made
    assert seen.index("accepted" if run.decision.accepted else "refused") < seen.index("Purpose")
    for check in run.decision.checks:
        assert f"{'passes' if check.passed else 'fails'} {check.sentence}" in seen
    if not run.decision.accepted:
        failed = [check.sentence for check in run.decision.checks if not check.passed]
        assert all(seen.index(sentence) < seen.index("Purpose") for sentence in failed)


def test_a_refused_reason_stands_with_count_and_example() -> None:
    """Each reason with its rows, what was expected and how it looked; and how many rows went where."""
    seen = words(run_page(facts()))
    assert "area out of range 38 a number 9600" in seen
    assert "whole row duplicate row 2 each once seen before" in seen
    assert "40 rows (3.23 %)" in seen
    assert "training 950 (79.2 %)" in seen
    assert "held out 240" in seen
    assert "left out 10" in seen


def test_the_page_of_a_quarantine_tells_what_the_report_of_the_run_tells() -> None:
    """The facts of the validation are the same words on both."""
    told = words(quarantine_page(facts().validation))
    whole = words(run_page(facts()))
    assert told.index("1,200 accepted, 40 quarantined") < told.index("Read 1,240 rows")
    shared = told[told.index("Read 1,240 rows") : told.index("Written by")].strip()
    assert "Why rows were set aside" in shared
    assert shared in whole


def test_the_success_figure_is_held_against_what_was_reached() -> None:
    """Reached and not reached are words, not colours."""
    good, bad = facts(), facts()
    bad = replace(bad, settings={**bad.settings, "problem": {"success": {"metric": "r2", "at_least": 0.999}}})
    assert "RMSE of at most 100 EUR: reached" in words(run_page(good))
    assert "R2 of at least 0.999: not reached" in words(run_page(bad))
    odd = replace(good, settings={**good.settings, "problem": {"success": {"metric": "happiness"}}})
    assert "happiness: the project states no level" in words(run_page(odd))


def test_the_champion_stands_beside_the_candidate() -> None:
    """Its value, how much better or worse the candidate is, its version, and a column among the slices."""
    run = facts(noise=40, champion=50)
    seen = words(run_page(run))
    assert run.champion is not None
    assert f"champion {run.champion.metrics['rmse']:.4g} EUR" in seen
    assert "% better" in seen
    assert "version 3" in seen
    assert "% worse" in words(run_page(facts(noise=55, champion=50)))
    assert "no champion" in words(run_page(facts(champion=None)))


def test_the_worst_slice_of_a_column_is_marked_by_word() -> None:
    """One row per column, and it is the one with the largest error."""
    run = facts()
    root = ElementTree.fromstring(run_page(run))
    marked = [" ".join(row.itertext()) for row in root.iter("tr") if row.get("class") == "worst"]
    worst = max(run.evaluation.slices, key=lambda part: part.metrics["rmse"])
    assert len(marked) == 1
    assert marked[0].startswith(f"{worst.value}  worst")


def test_the_lineage_names_everything_a_prediction_came_from() -> None:
    """Bundle, run, commit, snapshot, source, split, configuration, code, lock, seed, and the commands."""
    run = facts()
    seen = words(run_page(run)).partition("From a prediction to its rows")[2]
    for name in ("split", "configuration", "code"):
        assert run.provenance[name] in seen
    for one in (
        run.digest,
        run.snapshot.id,
        run.environment.lock,
        "c0ffee",
        "a.csv",
        "42",
        "changed but not committed",
    ):
        assert one in seen
    assert run.command in seen
    told = words(run_page(replace(run, command="slipway run --project 'my homes/project.yaml' --window 90d")))
    assert "slipway run --project 'my homes/project.yaml' --window 90d slipway models list housing" in told
    assert "slipway models show housing" in seen


def test_what_happened_next_is_told_when_it_is_known() -> None:
    """Verification and release come after the run; without them there is no empty section."""
    told = words(run_page(facts(), (("Released", "housing 1 takes 100 % of requests"),)))
    assert "What happened next Released housing 1 takes 100 % of requests" in told
    assert "What happened next" not in words(run_page(facts()))


def test_classification_shows_confusion_roc_and_calibration() -> None:
    """And no picture of errors."""
    seen = words(run_page(facts(noise=0.2, champion=None, classes=("no", "yes"))))
    assert "Confusion" in seen
    assert "ROC curve" in seen
    assert "Calibration" in seen
    assert "Predicted against actual" not in seen


def test_what_moves_a_prediction_is_drawn_and_said_to_be_exact_or_sampled() -> None:
    """The largest columns, in the unit of their numbers, how many are left out, and where the numbers come from."""
    run = facts()
    moved = {f"c{place}": 40.0 - place for place in range(20)}
    for method, of, shown in (
        ("exact Shapley values against golden rows", "y", "40 EUR"),
        ("sampled Shapley values, because of a model without a fast form", "log of y", "40"),
    ):
        known = Contributions(method=method, of=of, rows=200, moved=moved)
        seen = words(run_page(replace(run, evaluation=run.evaluation.model_copy(update={"contributions": known}))))
        section = seen.partition("What moves a prediction")[2].partition("Slices")[0]
        way = method.partition(" ")[0]
        assert f"Over 200 held-out rows: {method}." in section
        assert f"away from the mean, {way}; in units of {of}. 5 more move it less." in section
        assert re.search(rf"c0 {shown} c1 39", section), section
        assert "c15" not in section
    assert "What moves a prediction" not in words(run_page(run))


def test_text_from_data_stays_text_in_a_report() -> None:
    """A column, a source, an example or a sentence with markup in it is shown as it is written."""
    run = facts(column=EVIL)
    validation = run.validation.model_copy(
        update={
            "reasons": (ReasonCount(column=EVIL, reason="missing", rows=1, expected=EVIL, examples=(EVIL + "\0",)),)
        }
    )
    run = replace(
        run, name=EVIL, run_id=EVIL, validation=validation, provenance={"commit": EVIL, "rows": 1},
        settings={"problem": {"objective": EVIL}, "model": {"family": EVIL, "params": {EVIL: EVIL}}},
        snapshot=run.snapshot.model_copy(update={"source": EVIL}),
    )  # fmt: skip
    made = run_page(run, ((EVIL, EVIL),))
    assert "<script" not in made
    assert words(made).count(EVIL) > 10
    aside = quarantine_page(validation)
    assert "<script" not in aside
    assert f"{EVIL} missing 1 {EVIL} {EVIL}\ufffd" in words(aside)


def test_text_from_data_stays_text_in_the_tour() -> None:
    """Names of versions, units, sentences and addresses as well."""
    made = story_page(story(EVIL))
    assert "<script" not in made
    assert words(made).count(EVIL) > 10


def test_the_tour_tells_times_shares_evidence_and_losses() -> None:
    """Timeline as minutes, the canary's counts beside harm and excess, requests by version, and that none was lost."""
    seen = words(story_page(story()))
    assert "1:15 watch housing degraded" in seen
    assert "2:00 5 % 5 % 5 % 310 (1) 5,890 (2) 0.31 0.42 %" in seen
    assert "at 100 it goes back" in seen
    assert "No request was lost." in seen
    assert "3 lost" not in seen
    assert "12,345" in seen
    assert "3:07" in seen
    assert "3 requests were lost." in words(story_page(replace(story(), lost=3)))
    assert 'href="runs/01/report.html"' in story_page(story())


def test_the_canary_is_told_as_the_controller_saw_it() -> None:
    """The candidate's shares and counts, and the evidence that the controller decided by; unknown is a dash."""
    bench = Bench()
    bench.to("step")
    bench.look()
    bench.feed({"requests": 60, "errors": 1}, {"requests": 940})
    bench.look()
    seen = status(bench.state, bench.now)
    told = words(story_page(replace(story(), canary=[(12.0, seen)])))
    assert f"0:12 5 % – 6 % 60 (1) 940 (0) {seen.harm:.3g} {100 * seen.excess:.3g} % step" in told


def test_the_plot_of_a_search_shows_each_trial_and_leaves_failures_out() -> None:
    """Three of four trials have a value, so three dots; and the best line ends at the best."""
    svg = trials_plot(facts().tuning)
    assert svg.count("<circle") == 3
    assert "best so far from 3 to 2" in svg


def test_each_class_has_its_own_line_and_colour() -> None:
    """Precision and recall of each, and what the figures above are means of."""
    random = np.random.default_rng(3)
    names = ("ash", "beech", "cedar", "dogwood", "elm", "fir", "gum")
    target = random.integers(0, len(names), ROWS).astype(float)
    sure = random.dirichlet(np.ones(len(names)), ROWS) + 2 * (target[:, None] == np.arange(len(names)))
    matrix = np.zeros((ROWS, 2))
    seen = evaluate(sure / sure.sum(axis=1, keepdims=True), target, matrix, contract(names))
    page = run_page(replace(facts(champion=None, classes=("no", "yes")), evaluation=seen))
    text = words(page)
    assert "F1 and ROC AUC are plain means over the 7 classes" in text
    root = ElementTree.fromstring(page)
    rows = {"".join(cells[0].itertext()): cells for cells in (list(row) for row in root.iter("tr")) if cells}
    for place, name in enumerate(names):
        matrix_row = seen.confusion[place]
        assert "".join(rows[name][4].itertext()) == f"{matrix_row[place] / sum(matrix_row):.3f}"
    for picture in evaluation_plots(seen).values():
        colours = re.findall(r'class="line (\w+)"', picture)
        assert len(colours) == len(set(colours))

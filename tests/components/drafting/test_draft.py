"""What is drafted is read by the project's own reader, and the table that it was drafted from keeps it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from components.data import sources
from components.data.split import decide
from components.data.tables import learned_contract, matrix_and_target
from components.data.validation import require, validate
from components.drafting.baselines import BEFORE, Baseline
from components.drafting.choosing import choose
from components.drafting.draft import Draft, Wishes, draft
from components.drafting.look import look
from components.drafting.text import flow
from components.modelling.saying import said_besides
from components.projects import project as projects
from components.projects import project_file
from serving.errors import DataError, SlipwayError, UsageError
from tests.unordered.sitecustomize import unorder

NOW = datetime(2026, 11, 30, tzinfo=UTC)
# Doubts that say of rows that the contract refuses them.
SETS_ASIDE = {
    *("far out", "sentinel", "no numbers", "target missing", "tiny class", "repeated rows", "repeated period"),
    *("wrong dates", "mixed units"),
}


def drafted(frame: pl.DataFrame, folder: Path, target: str | None = None, **asked: Any) -> Draft:
    """What ``slipway init`` makes of *frame* as a CSV file."""
    path = folder / "table.csv"
    frame.write_csv(path)
    with sources.opened(str(path), None) as table:
        return draft(look(table), Wishes(target, **asked), folder / "project.yaml", NOW)


def cells(kind: str, rows: int, rng: np.random.Generator) -> list[Any]:
    """(rows,) cells of one kind of column, as they would be written."""
    made: dict[str, Any] = {
        "float": lambda: rng.normal(50, 10, rows).round(3),
        "tail": lambda: rng.lognormal(3, 1.5, rows).round(4),
        "tiny": lambda: rng.normal(0, 1e-7, rows),
        "int": lambda: rng.integers(0, 40, rows),
        "negative": lambda: rng.integers(-500, -20, rows),
        "flag": lambda: rng.integers(0, 2, rows),
        "truth": lambda: rng.choice(["yes", "no"], rows),
        "words": lambda: rng.choice(["a", "no", "1e-2", "1e5x", "x: y", "#b", "ü", '"q"', "{z}"], rows),
        "zip": lambda: [f"{n:05d}" for n in rng.integers(100, 130, rows)],
        "long": lambda: [f"word{n}" for n in rng.zipf(1.6, rows) % 1000],
        "gaps": lambda: [None if rng.random() < 0.2 else float(n) for n in rng.integers(0, 9, rows)],
        "question": lambda: ["?" if rng.random() < 0.1 else str(n) for n in rng.integers(0, 90, rows)],
        "day": lambda: [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in rng.integers(0, 300, rows)],
        "id": lambda: [f"k{n:07d}" for n in rng.permutation(rows)],
        "constant": lambda: ["same"] * rows,
        "empty": lambda: [None] * rows,
        "sentence": lambda: [" ".join(rng.choice(["the", "of", "sun", "moon"], 8)) + str(n) for n in range(rows)],
    }
    return list(made[kind]())


KINDS = (
    *("float", "tail", "tiny", "int", "negative", "flag", "truth", "words", "zip", "long", "gaps", "question", "day"),
    *("id", "constant", "empty", "sentence"),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12).map(
    lambda name: name.strip() or "x"
)


@st.composite
def tables(draw: Any) -> pl.DataFrame:
    """Tables of any columns with any names, and the target ``goal``."""
    rows, rng = draw(st.integers(60, 300)), np.random.default_rng(draw(st.integers(0, 1 << 30)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8))
    names = draw(st.lists(NAMES.filter(lambda name: name not in ("goal", "base")), min_size=8, max_size=8, unique=True))
    columns = {name: cells(kind, rows, rng) for name, kind in zip(names, kinds, strict=False)}
    goals = {
        "classes": lambda: rng.choice(["low", "high"], rows),
        "numbers": lambda: rng.gamma(3, 20, rows).round(2),
        "nearly one number": lambda: np.where(np.arange(rows) % 25 == 3, 100.0, 0.0) + (np.arange(rows) == 0),
    }
    goal = goals[draw(st.sampled_from(sorted(goals)))]()
    return pl.DataFrame({**columns, "base": rng.normal(size=rows).round(4), "goal": goal}, strict=False)


@pytest.mark.parametrize("examples", [8, pytest.param(400, marks=pytest.mark.slow)])
def test_a_table_keeps_what_was_drafted_from_it(examples: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The draft is a project, says the same twice, and refuses no row that no doubt is said about."""

    @settings(max_examples=examples, phases=set(Phase) - {Phase.shrink})  # which takes minutes and tells no more
    @given(tables())
    def holds(frame: pl.DataFrame) -> None:
        folder = tmp_path_factory.mktemp("drafted")
        found = drafted(frame, folder, "goal")
        with pytest.MonkeyPatch.context() as patched:
            unorder(7, patched.setattr)
            again = drafted(frame, folder, "goal")
        assert found.text == again.text
        (folder / "project.yaml").write_text(found.text, encoding="utf-8")
        project = projects.load(folder / "project.yaml")
        report = validate(sources.read(project.source.uri, None), project.contract, NOW).report
        require(report, project.contract)
        said = {doubt.kind for doubt in found.doubts}
        assert not report.quarantined or said & SETS_ASIDE, report.sentence

    holds()


def small(rows: int, timed: bool) -> pl.DataFrame:
    rng = np.random.default_rng(rows)
    columns = {"size": rng.normal(50, 10, rows).round(2), "zone": rng.choice(["a", "b"], rows)}
    days = [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" for n in range(rows)]
    goal = (3 * columns["size"] + rng.normal(0, 9, rows)).round(2)
    return pl.DataFrame({**columns, **({"sold": days} if timed else {}), "goal": goal})


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("rows", [30, 99, 100, 250])
def test_an_interval_is_only_asked_of_tables_that_have_rows_for_it(tmp_path: Path, rows: int, timed: bool) -> None:
    """And whatever the draft says, what a model of as many rows says besides can be learned."""
    found = drafted(small(rows, timed), tmp_path, "goal")
    (tmp_path / "project.yaml").write_text(found.text, encoding="utf-8")
    project = projects.load(tmp_path / "project.yaml")
    assert (project.says.interval is not None) == (rows >= 100)

    accepted = validate(sources.read(project.source.uri, None), project.contract, NOW).accepted
    cut = decide(lambda function: [function(accepted)], project.split, project.contract, project.seed)
    train = accepted.filter(pl.Series(cut.sides(accepted).train))
    rules = learned_contract(train, project.contract)
    training = (train, rules, cut.rule.model_dump_json(), *matrix_and_target(train, rules))
    said_besides(project.says, training, lambda some: lambda asked: np.full(len(asked), float(len(some))))


SCALARS = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)

VALUES = st.recursive(
    SCALARS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(max_examples=200)
@given(VALUES)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    """Whatever a table holds, its YAML says the same to both versions of that language."""
    text = f"key: {flow(value)}"
    assert project_file.value_of(text, "here") == {"key": value}
    assert yaml.safe_load(text) == {"key": value}


def test_the_target_is_asked_for_by_its_candidates(tmp_path: Path) -> None:
    """Where several columns may be meant nobody guesses."""
    frame = pl.DataFrame({"price": np.arange(50.0), "grade": np.arange(50.0) % 7, "size": np.arange(50.0) ** 2})
    with pytest.raises(UsageError, match="say --target COLUMN; candidates: price"):
        drafted(frame, tmp_path)


def test_what_never_tells_rows_apart_is_left_out(tmp_path: Path) -> None:
    """Constants, copies and row numbers are said and are no inputs; the model's are the rest."""
    rng = np.random.default_rng(0)
    size = rng.gamma(4, 20, 400).round(2)
    frame = pl.DataFrame(
        {
            "row": range(400),
            "size": size,
            "feet": (size * 10.764).round(6),
            "again": size,
            "land": ["de"] * 400,
            "price": (size * 30 + rng.normal(0, 300, 400)).round(),
        }
    )
    found = drafted(frame, tmp_path)
    assert {(doubt.kind, doubt.about) for doubt in found.doubts} == {
        ("identifier", ("row",)),
        ("duplicate column", ("feet",)),
        ("duplicate column", ("again",)),
        ("constant", ("land",)),
    }
    assert [one.name for one in found.inputs if not one.out] == ["size"]


def test_a_leak_is_found_through_a_transform(tmp_path: Path) -> None:
    """The logarithm of the answer is the answer, and so is a code of it; an honest relation is none."""
    rng = np.random.default_rng(1)
    size = rng.gamma(4, 20, 600)
    price = size * 3000 * rng.lognormal(0, 0.25, 600)
    frame = pl.DataFrame({"size": size, "z": np.log(price) ** 3, "tax": price * 0.19, "price": price})
    found = drafted(frame, tmp_path)
    assert {doubt.about for doubt in found.doubts if doubt.kind == "leak"} == {("z",), ("tax",)}


def test_a_table_that_says_nothing_is_told(tmp_path: Path) -> None:
    """Gates of noise refuse every model, and the draft says why before a run does."""
    rng = np.random.default_rng(2)
    frame = pl.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500), "price": rng.gamma(3, 9, 500)})
    assert [doubt.kind for doubt in drafted(frame, tmp_path).doubts] == ["nothing learned"]


def test_a_table_without_an_input_is_refused(tmp_path: Path) -> None:
    """Nothing is written where nothing could be learned."""
    with pytest.raises(SlipwayError, match="no column that a model could learn from"):
        drafted(pl.DataFrame({"c": ["x"] * 40, "price": np.arange(40.0)}), tmp_path)


@pytest.mark.parametrize(
    ("goal", "cut"),
    [
        pytest.param(lambda goal: goal, "", id="as-it-is"),
        pytest.param(lambda goal: np.minimum(goal, 80), "80", id="from-above"),
        pytest.param(lambda goal: np.maximum(goal, 30), "30", id="from-below"),
        pytest.param(lambda goal: np.where(goal < 40, 0, goal), "", id="many-of-nothing"),
        pytest.param(lambda goal: (goal / 10).round(), "", id="few-numbers"),
        pytest.param(lambda goal: goal.round(-1) + 0.0, "", id="round-numbers"),
    ],
)
def test_a_target_that_was_cut_off_is_doubted(goal: Any, cut: str, tmp_path: Path) -> None:
    """At either end, unless it is where counts begin, or one of few numbers."""
    rng = np.random.default_rng(2)
    frame = pl.DataFrame({"size": rng.normal(size=2_000).round(3), "goal": goal(rng.gamma(6, 10, 2_000).round(2))})
    said = [doubt for doubt in drafted(frame, tmp_path, "goal").doubts if doubt.kind == "capped"]
    assert [f" have {cut}, " in doubt.words for doubt in said] == ([True] if cut else [])


def test_what_callers_do_not_know_in_time_sets_no_gate() -> None:
    """The value before is told, and the floors come from what a model could be asked for; where little can be learned
    they leave room for the chance of other rows.
    """
    seen = [
        Baseline("the mean", True, {"rmse": 30.0, "r2": -0.01}),
        Baseline(BEFORE, True, {"rmse": 10.0, "r2": 0.9}),
        Baseline("gradient boosting", False, {"rmse": 27.0, "r2": 0.18}, fitted=True),
    ]
    floors = [gate for gate, _ in choose(seen, "regression").gates if "against" not in gate]
    assert floors == [{"metric": "rmse", "at_most": 29.1}, {"metric": "r2", "at_least": 0.0}]


def test_what_a_draft_measures_is_of_rows_as_a_run_deals_them(tmp_path: Path) -> None:
    """Columns that no model sees tell rows apart, so that those which are alike otherwise stand on both sides."""
    rng = np.random.default_rng(0)
    treatment = rng.choice(["diet", "drug", "both"], 699)
    outcome = np.where(rng.random(699) < np.where(treatment == "both", 0.7, 0.4), "good", "bad")
    for names in ({"rownames": range(1, 700)}, {}):
        found = drafted(pl.DataFrame({**names, "outcome": outcome, "treatment": treatment}), tmp_path, "treatment")
        losses = [one.metrics["log_loss"] for one in found.baselines]
        assert max(losses) < 1.2, found.baselines


def test_a_column_that_nearly_tells_the_target_is_kept_where_it_is_all_there_is(tmp_path: Path) -> None:
    """And said to be doubtful; beside another column it is left out."""
    rng = np.random.default_rng(0)
    income = rng.gamma(9, 100, 200).round(1)
    frame = pl.DataFrame(
        {"rownames": range(1, 201), "income": income, "spent": (0.9 * income + rng.normal(size=200)).round(1)}
    )
    for other, kept in ((False, True), (True, False)):
        table = frame.with_columns(size=pl.Series(rng.normal(size=200))) if other else frame
        found = drafted(table, tmp_path, "spent")
        assert [doubt.kind for doubt in found.doubts if "income" in doubt.columns] == ["leak"]
        assert ("income" in projects.from_text(found.text).contract.columns) == kept


def test_a_table_of_which_nothing_can_be_learned_is_refused_with_the_reason_of_each_column(tmp_path: Path) -> None:
    """Not that of the first one alone."""
    frame = pl.DataFrame({"gone": [None] * 90, "same": ["x"] * 90, "goal": np.arange(90.0) ** 0.5})
    with pytest.raises(DataError, match=r"learn from: gone: .*; same: "):
        drafted(frame, tmp_path, "goal")


def test_cells_that_are_few_or_far_are_no_reason_to_fail(tmp_path: Path) -> None:
    """Few words with a digit are words; numbers beyond float32 are numbers; two words in all are nothing."""
    rng = np.random.default_rng(0)
    group = rng.choice(["g1", "g2", "g3"], 200)
    goal = (np.array([float(word[1]) for word in group]) + rng.normal(size=200) * 0.1).round(3)
    wild = np.where(rng.random(200) < 0.1, 1e54, rng.normal(size=200))
    rare = [None] * 198 + ["left", "moved"]
    found = drafted(pl.DataFrame({"group": group, "wild": wild, "rare": rare, "goal": goal}), tmp_path, "goal")
    columns = projects.from_text(found.text).contract.columns
    assert set(columns["group"].values) == {"g1", "g2", "g3"}
    assert "wild" in columns
    assert "rare" not in columns
    assert ("empty", ("rare",)) in {(doubt.kind, doubt.columns) for doubt in found.doubts}

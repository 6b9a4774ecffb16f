"""A project is one file: the two that are shipped, and one written here, go through the same code."""

import math
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data import sources
from components.projects import project as projects
from components.projects import project_file
from components.steps.place import Place
from pipelines.compiling.compiling import graphs
from pipelines.here.training import train_arguments
from serving.errors import ConfigError
from serving.ledger.ledger import open_ledger
from tests.pipelines.here.support import Said, contract, slipway, states, write_project
from tests.root import ROOT

SHIPPED = sorted((ROOT / "pipelines").glob("*/project.yaml"))
CALIFORNIA = ROOT.parent / "shared" / "data" / "california_housing.csv"

DISTRICTS: dict[str, Any] = {
    "name": "districts",
    "problem": {
        "objective": "What homes of a district are worth.",
        "success": {"metric": "mae", "at_most": 40_000},
    },
    "contract": {
        "target": {"name": "median_house_value", "unit": "USD", "range": [10_000, 500_001]},
        "columns": {
            "longitude": {"type": "float", "range": [-125, -114]},
            "latitude": {"type": "float", "range": [32, 42]},
            "housing_median_age": {"type": "float", "unit": "years", "range": [0, 60]},
            "total_rooms": {"type": "float", "range": [1, 50_000]},
            "total_bedrooms": {"type": "float", "range": [1, 10_000], "nullable": True},
            "population": {"type": "float", "range": [1, 50_000]},
            "households": {"type": "float", "range": [1, 10_000]},
            "median_income": {"type": "float", "range": [0, 20]},
            "ocean_proximity": {
                "type": "category",
                "values": ["NEAR BAY", "<1H OCEAN", "INLAND", "NEAR OCEAN", "ISLAND"],
            },
        },
    },
    "split": {"by": "random", "holdout": 0.2},
    "model": {"family": "hist_gradient_boosting", "params": {"max_iter": 60}},
    "slices": ["ocean_proximity"],
    "gates": [
        {"metric": "mae", "at_most": 40_000},
        {"metric": "r2", "at_least": 0.75},
        {"metric": "rmse", "slice": "ocean_proximity", "worst": 75_000},
    ],
    "seed": 42,
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_project_loads_and_its_table_has_its_columns(path: Path) -> None:
    """Each is complete: its source exists and holds the key, the time, the target and every input column."""
    project = projects.load(path)
    wanted = {*project.contract.names, project.contract.target.name, project.contract.key, project.contract.event_time}
    uri = project.source.uri.replace("months=24", "months=1")
    assert wanted - {None} <= set(sources.read(uri, None).columns)
    again = projects.parse(project.model_dump(mode="json", exclude_unset=True))
    assert (again.model_dump(), again.file) == (project.model_dump(), None)


def test_the_difference_between_projects_is_configuration() -> None:
    """A project's folder needs nothing but its file; of the pipelines none is for one of them."""
    assert [path.parent.name for path in SHIPPED] == ["breast_cancer", "housing"]
    listed = subprocess.run(
        ["git", "ls-files", "pipelines/breast_cancer"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert listed in (["pipelines/breast_cancer/project.yaml"], [])
    packages = [path.read_text() for path in graphs().values()]
    for name in ("breast_cancer", "breast-cancer", "housing", "price"):
        assert not any(name in package for package in packages), f"a compiled pipeline knows {name}"
    code = [p for package in ("components", "serving") for p in (ROOT / package).rglob("*.py")]
    assert [p.name for p in code if "pipelines.housing" in p.read_text()] == []


def test_a_relative_source_is_beside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the command is typed does not matter; addresses with a scheme and whole paths stay as they are."""
    path = write_project(tmp_path)
    monkeypatch.chdir("/")
    assert projects.load(path).source.uri == str(tmp_path / "sales.csv")
    there = write_project(tmp_path, source={"uri": "s3://sales/2024.parquet"})
    assert projects.load(there).source.uri == "s3://sales/2024.parquet"


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """Two wrong keys in two sections: one sentence has both, as they were typed."""
    path = write_project(tmp_path, split={"by": "moon"}, model={"family": "ridge", "alhpa": 1}, seed="x")
    with pytest.raises(ConfigError) as told:
        projects.load(path)
    for part in ("split", "'moon'", "model.alhpa: unknown key", "seed"):
        assert part in str(told.value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        pytest.param({"slices": ["regoin"]}, ["slices", "'regoin'", "did you mean 'region'"], id="slice"),
        pytest.param({"features": {"transforms": {"area": "log"}}}, ["area"], id="transform"),
        pytest.param(
            {"search": {"trials": 2, "space": {"depth": {"int": [1, 3]}}}}, ["depth", "ridge"], id="search-space"
        ),
        pytest.param(
            {"model": {"family": "logistic_regression"}}, ["logistic_regression"], id="family-of-another-task"
        ),
        pytest.param({"problem": {"success": {"metric": "f1", "at_least": 1}}}, ["f1"], id="success"),
        pytest.param({"contract": contract(event_time=None)}, ["split", "event_time"], id="split-by-time-without-time"),
        pytest.param(
            {"contract": contract(key=None), "split": {"by": "group", "holdout": 0.2}},
            ["split", "contract.key"],
            id="split-by-group-without-group",
        ),
    ],
)
def test_sections_have_to_fit_together(tmp_path: Path, changes: dict[str, Any], parts: list[str]) -> None:
    """What only two sections together can say is found when the file is read, not an hour later."""
    with pytest.raises(ConfigError) as told:
        projects.load(write_project(tmp_path, **changes))
    assert all(part in str(told.value) for part in parts), told.value


def released(said: Said, home: Path, model: str) -> dict[str, Any]:
    """The metrics of the released version 1 of *model*."""
    assert (said.code, said.err) == (0, ""), said
    made = states(home, "01")
    skipped = {task for task, state in made.items() if state == "SKIPPED"}
    assert skipped == {"decline"}
    (version,) = open_ledger(f"sqlite:///{home}/ledger.db").versions(model)
    assert version.stage == "production"
    return dict(version.metrics)


@pytest.mark.slow
def test_classification_runs_by_configuration_alone(tmp_path: Path) -> None:
    """The shipped breast-cancer project, unchanged, from rows to a released version that keeps its own promise."""
    project = ROOT / "pipelines" / "breast_cancer" / "project.yaml"
    said = slipway("run", "--project", project, home=tmp_path)
    metrics = released(said, tmp_path, "breast-cancer")
    success = projects.load(project).problem.success
    assert success is not None
    assert metrics["roc_auc"] >= (success.at_least or 1)


@pytest.mark.slow
@pytest.mark.skipif(not CALIFORNIA.exists(), reason="the table is not part of the product")
def test_a_third_project_is_written_in_a_minute(tmp_path: Path) -> None:
    """20,640 rows of a real census with missing values: a YAML file is all that it takes."""
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump({**DISTRICTS, "source": {"uri": str(CALIFORNIA)}}, sort_keys=False))
    home = tmp_path / "home"
    said = slipway("run", "--project", path, home=home)
    assert released(said, home, "districts")["mae"] < 40_000


@pytest.mark.skipif(not CALIFORNIA.exists(), reason="the table is not part of the product")
def test_the_third_table_keeps_its_contract(tmp_path: Path) -> None:
    """Held against a contract that nobody tuned to our code, the real table passes whole, missing bedrooms included."""
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump({**DISTRICTS, "source": {"uri": str(CALIFORNIA)}}, sort_keys=False))
    report = slipway("data", "check", "--project", path, "--json").value
    assert (report["rows"], report["quarantined"]) == (len(pl.read_csv(CALIFORNIA)), 0)


def test_a_run_gets_every_parameter_of_its_pipeline(tmp_path: Path) -> None:
    """What is asked travels to the committed package under the name that it expects there."""
    place = Place(home="h", ledger="l", tracking="t", store="s", serving="v", key="k")
    assert {*train_arguments(projects.load(write_project(tmp_path)), place), "notes"} == set(yaml_inputs())


def yaml_inputs() -> dict[str, Any]:
    """The parameters of the committed training package."""
    package = next(path for path in graphs().values() if path.name == "train.yaml")
    document = next(iter(yaml.safe_load_all(package.read_text())))
    return dict(document["root"]["inputDefinitions"]["parameters"])


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_key_that_stands_twice_is_refused_with_both_lines(data: st.DataObject) -> None:
    """At any depth of a shipped project, in blocks as people write them: the last does not win, it is asked about."""
    whole = yaml.safe_load(SHIPPED[-1].read_text().replace("\n  on:", '\n  "on":'))
    lines = yaml.safe_dump(whole, sort_keys=False, default_flow_style=False).splitlines()
    keys = [place for place, line in enumerate(lines) if re.match(r"^ *\w+: \S", line) and line[-1] not in "'\"|>"]
    place = data.draw(st.sampled_from(keys))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "project.yaml"
        path.write_text("\n".join([*lines[: place + 1], lines[place], *lines[place + 1 :]]))
        with pytest.raises(
            ConfigError, match=rf":{place + 2}: .*{lines[place].split(':')[0].strip()}.*line {place + 1} "
        ):
            projects.load(path)


@given(
    number=st.one_of(
        st.from_regex(r"\A[-+]?(\.[0-9]{1,9}|[0-9]{1,9}(\.[0-9]{0,9})?)([eE][-+]?[0-9]{1,2})?\Z"),
        st.integers().map(str),
    )
)
@settings(max_examples=200, deadline=None)
def test_numbers_are_read_as_yaml_1_2_reads_them(number: str) -> None:
    """Whatever its core schema calls a number is one, in base ten unless it says otherwise."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "project.yaml"
        path.write_text(f"value: {number}")
        assert project_file.read(path) == {"value": float(number) if re.search(r"[.eE]", number) else int(number)}


def test_words_stay_words(tmp_path: Path) -> None:
    """A category ``no`` is no boolean, and days, times and sixties are text."""
    path = tmp_path / "project.yaml"
    path.write_text("[no, yes, on, off, 2024-01-02, 12:30, 1_000, 0b1]")
    assert project_file.read(path) == ["no", "yes", "on", "off", "2024-01-02", "12:30", "1_000", "0b1"]
    path.write_text("[017, 0o17, 0x1F, true, False, ~]")
    assert project_file.read(path) == [17, 15, 31, True, False, None]


def told(tmp_path: Path, **changes: Any) -> str:
    """What loading the tiny project with *changes* says; empty when it is taken."""
    try:
        projects.load(write_project(tmp_path, **changes))
    except ConfigError as error:
        return str(error)
    return ""


def at(key: str, value: Any) -> dict[str, Any]:
    """The change that puts *value* at *key*, in sections that are otherwise empty."""
    for word in reversed(key.split(".")):
        value = {word: value}
    return dict(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "key",
    ["watch.alarm.rmse.above", "watch.drift.ks", "problem.success.at_most", "model.params.alpha", "search.space.alpha"],
)
def test_what_is_no_number_stands_nowhere(tmp_path: Path, key: str, number: float) -> None:
    """Every comparison with NaN is false and nothing passes infinity: a bar of them is silent for ever."""
    assert f": {key}: expected a finite number, got {number}" in told(tmp_path, **at(key, number))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "5"),
        ("seed", True),
        ("watch.drift.ks", "0.1"),
        ("watch.labels.at_least", "20"),
        ("retrain.fresh_labels", "5"),
        ("rollout.replicas", "2"),
        ("rollout.keep_previous", "yes"),
        ("problem.success", {"metric": "rmse", "at_most": "9"}),
        ("watch.alarm.rmse", {"above": "5"}),
        ("retrain.cooldown", 7),
        ("watch.window", 90),
        ("watch.labels.delay", 1.5),
        ("search.timeout", 60),
        ("rollout.time.dwell", 120),
        ("rollout.gates.slow.slo", 0.2),
    ],
)
def test_what_is_written_is_of_the_type_that_is_meant(tmp_path: Path, key: str, value: Any) -> None:
    """A number in quotes is a text, yes is no boolean, and a length of time has a unit; the key is named."""
    assert re.search(rf":\d+: {key}[.:]", told(tmp_path, **at(key, value)))


@pytest.mark.parametrize("seen", [2116, 1.5, True])
def test_a_text_that_looks_like_a_number_is_wanted_in_quotes(tmp_path: Path, seen: Any) -> None:
    """Whether 02116 or 2116 is meant only its writer knows."""
    assert told(tmp_path, **at("contract.key", seen)).endswith(f"got {seen!r}; put it in quotes")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("watch.window", "90d"),
        ("retrain.cooldown", 0),
        ("rollout.time.dwell", "2m"),
        ("watch.drift.ks", 1),
        ("seed", 3),
    ],
)
def test_what_means_one_thing_is_taken(tmp_path: Path, key: str, value: Any) -> None:
    """A whole number is a number, and nothing is nothing in any unit."""
    assert told(tmp_path, **at(key, value)) == ""


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("watch.alarm.r2", {"above": 0.5}, "expected 'below', since more"),
        ("watch.alarm.rmse", {"below": 5}, "expected 'above', since less"),
        ("watch.alarm.rmse", {"below": "1.25x"}, "expected 'above'"),
        ("watch.alarm.error_rate", {"below": 0.1}, "expected 'above'"),
        ("watch.alarm.latency_p99", {"below": 50}, "expected 'above'"),
        ("watch.alarm.rmse", {"above": "0.8x"}, "1x or more"),
        ("watch.alarm.r2", {"below": "1.1x"}, "1x or less"),
        ("watch.alarm.bias", {"below": -5}, ""),
        ("watch.alarm.bias", {"above": 5}, ""),
        ("watch.alarm.r2", {"below": "0.9x"}, ""),
        ("problem.success", {"metric": "r2", "at_most": 0.5}, "expected 'at_least'"),
        ("problem.success", {"metric": "rmse", "at_least": 5}, "expected 'at_most'"),
        ("problem.success", {"metric": "bias", "at_most": 5}, ""),
        ("retrain.schedule", "0 25 * * *", "hour '25' is not within 0 to 23"),
        ("retrain.schedule", "0 3 * *", "five fields"),
        ("retrain.schedule", "0 0 31 2 *", "no date ever fits"),
        ("retrain.schedule", "0 20 * * *", ""),
    ],
)
def test_a_bar_or_a_schedule_that_never_or_always_holds_is_refused(
    tmp_path: Path, key: str, value: Any, says: str
) -> None:
    """An alarm on the good side rings for every good version, and a schedule without a day never does."""
    seen = told(tmp_path, **at(key, value))
    assert (f": {key}" in seen and says in seen) if says else seen == ""


@pytest.mark.parametrize(
    ("family", "params", "space", "key"),
    [
        ("ridge", {"alpha": -1}, {}, "model.params.alpha"),
        ("ridge", {"alpha": "1"}, {}, "model.params.alpha"),
        ("ridge", {"positive": True, "solver": "svd"}, {}, "model.params"),
        ("ridge", {"alpha": [1, 2]}, {}, "model.params"),
        ("ridge", {"solver": "magic"}, {}, "model.params.solver"),
        ("ridge", {"fit_intercept": "no"}, {}, "model.params.fit_intercept"),
        ("random_forest", {"n_estimators": 10.5}, {}, "model.params.n_estimators"),
        ("hist_gradient_boosting", {"monotonic_cst": [1, 0]}, {}, "model.params"),
        ("hist_gradient_boosting", {"max_leaf_nodes": 1}, {}, "model.params.max_leaf_nodes"),
        ("ridge", {}, {"alpha": {"float": [-1, 1]}}, "search.space.alpha"),
        ("ridge", {}, {"solver": {"choice": ["svd", "magic"]}}, "search.space.solver"),
        ("random_forest", {}, {"max_features": {"float": [0.5, 2]}}, "search.space.max_features"),
        ("random_forest", {}, {"n_estimators": {"int": [0, 10]}}, "search.space.n_estimators"),
        ("random_forest", {}, {"max_features": {"choice": ["sqrt", None, 0.5]}}, ""),
        ("ridge", {}, {"alpha": {"log": [1, 100]}}, ""),
    ],
)
def test_a_value_that_the_estimator_refuses_is_refused_with_the_file(
    tmp_path: Path, family: str, params: dict[str, Any], space: dict[str, Any], key: str
) -> None:
    """Of the project's own parameters and of each end and choice of the search, before any row is read."""
    seen = told(tmp_path, model={"family": family, "params": params}, search={"space": space}, features={})
    assert re.search(rf":\d+: {key}: ", seen) if key else seen == ""


def test_a_mistake_is_told_with_its_line_beside_the_others(tmp_path: Path) -> None:
    """Of a key that is missing, the line of the section it is missing in; sections are all looked at."""
    path = write_project(tmp_path, gates=[{"metric": "rmse", "at_most": 5}, {"metric": "mae", "at_most": "x"}])
    line = path.read_text().splitlines().index("  at_most: x") + 1
    with pytest.raises(ConfigError, match=rf"project\.yaml:{line}: gates\[1\]\.at_most: "):
        projects.load(path)
    seen = told(
        tmp_path,
        gates=[{"metric": "rmse", "at_most": 5}, {"metric": "rsme"}, {"metric": "r2", "at_most": 1}],
        model={"family": "ridge", "params": {"alhpa": 1}},
        search={"space": {"alpha": {"int": [3, 1]}}},
        seed="x",
    )
    for key in (r"gates\[1\]\.metric", r"gates\[2\]", r"model\.params\.alhpa", r"search\.space\.alpha\.int", "seed"):
        assert re.search(rf"yaml:\d+: {key}: ", seen), (key, seen)
    assert ": gates[0].metric: expected a metric for" in told(tmp_path, gates=[{"metric": "f1", "at_least": 1}])
    seen = told(
        tmp_path, slices=["regoin"], watch={"alarm": {"r2": {"above": 1}}}, split={"by": "group", "holdout": 0.2}
    )
    assert "slices: no column" in seen
    assert "watch.alarm.r2: expected 'below'" in seen


def test_a_name_is_read_while_the_rest_is_edited(tmp_path: Path) -> None:
    """A rollout is ended while a colleague has a key twice; a name that stands twice is no name."""
    path = tmp_path / "project.yaml"
    path.write_text("name: homes\nseed: 1\nseed: 2\n")
    assert project_file.name(path) == "homes"
    path.write_text("name: homes\nname: shops\n")
    with pytest.raises(ConfigError, match="yaml:2: name: stands in line 1"):
        project_file.name(path)


def test_a_key_twice_in_one_line_is_refused_and_an_alias_is_not(tmp_path: Path) -> None:
    """What is written once and meant twice is one mapping."""
    path = tmp_path / "project.yaml"
    path.write_text("a: {b: 1, b: 2}")
    with pytest.raises(ConfigError, match=r"yaml:1: a\.b: stands in line 1"):
        project_file.read(path)
    path.write_text("a: &one\n  b: *one\n")
    with pytest.raises(ConfigError, match=r"a\.b contains itself"):
        project_file.read(path)
    path.write_text("a: &one {b: 1}\nc: *one\n")
    assert project_file.read(path) == {"a": {"b": 1}, "c": {"b": 1}}

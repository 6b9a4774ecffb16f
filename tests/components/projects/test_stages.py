"""The first step makes of a project's text, and of where it runs, all that the steps after it take."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import polars as pl
import pytest

from components import ingest as doorway
from components.data.snapshots import open_snapshot
from components.projects import project as projects
from components.projects import stages
from components.steps import carried
from components.steps import place as places
from components.steps.code_digest import code_digest
from components.steps.place import Place
from pipelines import settings
from pipelines.compiling.compiling import read_package
from serving.errors import ConfigError
from serving.files import sha256_file
from tests.pipelines.here.support import write_project
from tests.root import ROOT

SHIPPED = sorted((ROOT / "pipelines").glob("*/project.yaml"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return settings.load(str(tmp_path / "home"), {}, actor="ann")


def as_json(text: str, _place: Place) -> str:
    return projects.from_text(text).model_dump_json(exclude_unset=True)


def in_a_store(text: str, place: Place) -> str:
    (place.root / "there").mkdir(parents=True)
    (place.root / "there" / "project.yaml").write_text(text)
    return f"file://{place.root}/there/project.yaml"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda text, _place: text, id="the-text-of-the-file"),
        pytest.param(as_json, id="what-slipway-sends"),
        pytest.param(in_a_store, id="the-address-of-a-file-that-somebody-put"),
        pytest.param(
            lambda text, place: carried.put(as_json(text, place), place.store), id="the-address-of-a-wide-one"
        ),
    ],
)
def test_a_project_is_the_same_in_whatever_form_it_comes(
    path: Path, form: Callable[[str, Place], str], place: Place
) -> None:
    """Every value that a step takes is equal, so that caches and versions do not depend on who started the run."""
    text = path.read_text()
    assert stages.sections(stages.read(form(text, place), place)) == stages.sections(projects.from_text(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("project.yaml", "expected the text of a project.yaml, or an s3:// address", id="a-file-of-theirs"),
        pytest.param("", "expected the text of a project.yaml", id="nothing"),
        pytest.param("name: x seed: 1", "begins 'name: x seed: 1': a form of one line", id="lines-made-one"),
        pytest.param("# Homes. name: x", "s3:// address, or JSON", id="lines-made-one-comment"),
        pytest.param("{broken", "project: it begins as JSON and is none", id="broken-json"),
        pytest.param("name: x\nname: y\n", "project:2: name: stands in line 1 already", id="a-key-twice"),
        pytest.param("name: x\nseed: no number\n", "project:2: seed", id="a-wrong-key-with-its-line"),
        pytest.param('{"name": "x"}', "missing", id="a-section-that-is-missing"),
    ],
)
def test_what_is_no_project_is_told_by_its_key(text: str, told: str, place: Place) -> None:
    """A person who pastes a file into a form reads what is wrong with it in the first step."""
    with pytest.raises(ConfigError, match=told):
        stages.read(text, place)


def ingested(tmp_path: Path, place: str, **asked: str) -> dict[str, Any]:
    """What the step returns about a small project, whose table is at an address that any pod reaches."""
    table = tmp_path / "table.parquet"
    pl.DataFrame({"sold_at": ["2024-01-01"], "region": ["city"], "area_m2": [50.0], "distance_km": [1.0],
                  "price": [100_000.0], "property_id": ["a"]}).write_parquet(table)  # fmt: skip
    text = write_project(tmp_path, source={"uri": str(table)}).read_text()
    usual = {"project": text, "as_of": "", "window": "", "source": "", "notes": "", "run_id": "uid-1"}
    made = stages.ingest(
        **{**usual, **asked}, place=place, snapshot=str(tmp_path / "snapshot"), rules=str(tmp_path / "rules")
    )
    return made._asdict()


def test_a_run_that_nobody_told_anything_finds_all_where_it_is(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Place from what the cluster mounts, number from the server, code from the image, day from the clock."""
    monkeypatch.setattr(places, "MOUNTED", tmp_path / "mounted")
    (tmp_path / "mounted").mkdir()
    for name, value in place.model_dump(exclude={"actor"}).items():
        (tmp_path / "mounted" / f"SLIPWAY_{name.upper()}").write_text(f"{value}\n")
    (tmp_path / "mounted" / "SLIPWAY_OF_A_LATER_RELEASE").write_text("x")
    made = ingested(tmp_path, "")
    assert Place.model_validate_json(made["place"]) == place.model_copy(update={"actor": places.ACCOUNT})
    assert (made["run_id"], made["code"], made["commit"]) == ("uid-1", code_digest(), "unknown")
    assert made["command"].startswith("slipway submit --project PROJECT --source ")
    assert made["command"].endswith(f"--as-of {made['as_of']}")
    assert made["contract_id"] == sha256_file(tmp_path / "rules")


def test_what_slipway_tells_of_its_run_counts(tmp_path: Path, place: Place) -> None:
    """Number, code, commit and command are those of whoever starts it, and so are day, window and table."""
    notes = stages.RunNotes(run_id="07", code="c" * 64, commit="abc", command="slipway run --project p.yaml")
    (tmp_path / "other").mkdir()
    table = tmp_path / "other.parquet"
    ingested(tmp_path / "other", place.model_dump_json())
    (tmp_path / "other" / "table.parquet").rename(table)
    asked = {"as_of": "2024-02-01", "window": "60d", "source": str(table)}
    made = ingested(tmp_path, place.model_dump_json(), notes=notes.model_dump_json(), **asked)
    assert (made["run_id"], made["code"], made["commit"], made["as_of"]) == ("07", "c" * 64, "abc", "2024-02-01")
    assert made["command"] == f"slipway run --project p.yaml --source {table} --as-of 2024-02-01 --window 60d"
    assert open_snapshot(tmp_path / "snapshot").source == str(table)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"as_of": "yesterday"}, r"as_of: expected a day such as 2026-01-31, got 'yesterday'"),
        ({"window": "180"}, r"window: expected a duration such as .*, seen '180'"),
    ],
    ids=["as_of", "window"],
)
def test_a_day_or_a_length_that_is_none_is_refused(
    asked: dict[str, str], told: str, tmp_path: Path, place: Place
) -> None:
    """Before a table is read; our own verbs check what is typed, and a form of another client does not."""
    with pytest.raises(ConfigError, match=told):
        ingested(tmp_path, place.model_dump_json(), **asked)
    assert not (tmp_path / "snapshot").exists()


def test_without_a_place_the_next_move_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster where nothing of ours is installed the first step says so, instead of a pod that never starts."""
    monkeypatch.setattr(places, "MOUNTED", tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"slipway-place.*make deploy"):
        ingested(tmp_path, "")


def test_the_doorway_promises_what_the_stage_returns() -> None:
    """KFP hands outputs on by place and writes numbers and texts differently: same names, same order, same types."""
    promised = inspect.signature(doorway.ingest.python_func).return_annotation  # type: ignore[attr-defined]  # a component
    assert list(promised.__annotations__.items()) == list(get_type_hints(stages.Ingested).items())


def test_each_output_is_taken_by_some_step() -> None:
    """What the first step makes of a project is used, under the name that the graph knows."""
    graph = read_package((ROOT / "pipelines" / "train.yaml").read_bytes())[0]
    taken = {
        source["taskOutputParameter"]["outputParameterKey"]
        for task in graph["root"]["dag"]["tasks"].values()
        for source in task["inputs"].get("parameters", {}).values()
        if source.get("taskOutputParameter", {}).get("producerTask") == "ingest"
    }
    assert taken == set(stages.Ingested._fields)

"""A package that any client of Kubeflow Pipelines submits as it is: `slipway compile --image`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kfp import components

from components.projects import project as projects
from components.projects.stages import RunNotes, sections
from components.steps.place import Place
from pipelines import settings
from pipelines.checkout import PIPELINES
from pipelines.compiling.compiling import IMAGE, read_package
from pipelines.deploying import image_tag
from pipelines.kubeflow import submission, submitting
from serving.errors import ConfigError, UsageError
from serving.ledger.ledger import open_ledger
from tests.pipelines.here.support import one_sentence, slipway, write_project, write_table
from tests.root import HOUSING

REAL = "registry.example/slipway-python:0123456789ab"
# What somebody types who has KFP and not us; `place` is what the ConfigMap of a cluster would say.
STOCK = """
import json, sys
from kfp import components, local
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
run = components.load_component_from_file(sys.argv[1])(place=sys.argv[3])
assert not {"pipelines", "components", "serving"} & set(sys.modules)
print(json.dumps(run.outputs["verdict"]))
"""


def parameters(package: bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_package(package)[0]["root"]["inputDefinitions"]["parameters"]
    return found


@pytest.mark.parametrize(("pipeline", "left"), [("train", set()), ("score", {"source", "output"})])
def test_whoever_submits_it_is_asked_for_little(pipeline: str, left: set[str]) -> None:
    """Training needs nothing more; scoring the rows, and where predictions go."""
    package = submitting.package(pipeline, REAL, projects.load(HOUSING))
    assert {name for name, spec in parameters(package).items() if not spec.get("isOptional")} == left
    anybody = submitting.package(pipeline, REAL, None)
    assert {name for name, spec in parameters(anybody).items() if not spec.get("isOptional")} == left | (
        {"project"} if pipeline == "train" else {"name"}
    )


@pytest.mark.parametrize("pipeline", ["train", "score"])
def test_it_is_the_committed_graph(pipeline: str) -> None:
    """But for the image, the defaults, and what only Kubernetes knows, which is what our own submission adds."""
    made = read_package(submitting.package(pipeline, REAL, projects.load(HOUSING)))
    committed = (PIPELINES / f"{pipeline}.yaml").read_bytes()
    assert made[1] == read_package(submission.prepare(committed, REAL))[1]
    made[0]["root"]["inputDefinitions"] = read_package(committed)[0]["root"]["inputDefinitions"]
    for executor in made[0]["deploymentSpec"]["executors"].values():
        assert executor["container"].pop("image") == REAL
        executor["container"]["image"] = IMAGE
    assert made[0] == read_package(committed)[0]


def test_the_project_in_it_is_the_project() -> None:
    """Its sections are those of the file; the code is named only where the image is this checkout's."""
    project = projects.load(HOUSING)
    found = parameters(submitting.package("train", REAL, project, "s3://bucket/table.parquet"))
    inside = projects.parse(json.loads(found["project"]["defaultValue"]))
    assert sections(inside) == sections(project)
    assert found["source"]["defaultValue"] == "s3://bucket/table.parquet"
    foreign = RunNotes.model_validate_json(found["notes"]["defaultValue"])
    assert (foreign.code, foreign.command) == ("", "slipway submit --project pipelines/housing/project.yaml")
    ours = parameters(submitting.package("train", f"python:{image_tag.tag('pipeline')}", project))
    assert RunNotes.model_validate_json(ours["notes"]["defaultValue"]).code


def test_the_verb_writes_it_where_it_is_told(tmp_path: Path) -> None:
    """The committed packages stay as they are, and one line says what was written."""
    before = (PIPELINES / "train.yaml").read_bytes()
    said = slipway("compile", "--image", REAL, "--project", HOUSING, "-o", tmp_path / "t.yaml", "--json", home=tmp_path)
    (line,) = said.lines
    assert (line["pipeline"], line["image"], line["output"]) == ("train", REAL, str(tmp_path / "t.yaml"))
    assert (tmp_path / "t.yaml").read_bytes() == submitting.package("train", REAL, projects.load(HOUSING))
    assert slipway("compile", "score", "--image", REAL, "-o", tmp_path / "s.yaml", home=tmp_path).code == 0
    assert (tmp_path / "s.yaml").read_bytes() == submitting.package("score", REAL, None)
    assert (PIPELINES / "train.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        pytest.param(("-o", "t.yaml"), 2, "--image REF", id="without-an-image"),
        pytest.param(("--project", HOUSING), 2, "--image REF", id="a-project-without-an-image"),
        pytest.param(("score",), 2, "--image REF", id="a-pipeline-without-an-image"),
        pytest.param(("--image", REAL, "--check"), 2, "leave out one", id="check-and-write"),
        pytest.param(("--image", REAL, "-o", PIPELINES / "train.yaml"), 2, "committed", id="over-the-committed"),
        pytest.param(("--image", "slipway-python:latest"), 3, "tag", id="an-image-that-may-change"),
    ],
)
def test_a_call_that_cannot_work_is_refused(words: tuple[object, ...], code: int, told: str, tmp_path: Path) -> None:
    one_sentence(slipway("compile", *words, home=tmp_path), code, told)


def test_a_project_that_no_pod_could_run_is_refused(tmp_path: Path) -> None:
    """Its table is on this machine, or it is longer than a command line; the message says what to do."""
    project = projects.load(write_project(tmp_path))
    with pytest.raises(UsageError, match="--source"):
        submitting.package("train", REAL, project)
    assert submitting.package("train", REAL, project, "s3://bucket/sales.parquet")
    wide = {f"x{number}": {"type": "float", "unit": "u" * 90} for number in range(1_000)}
    long = write_project(tmp_path, contract={"target": {"name": "y"}, "columns": wide}, features={},
                         split={"by": "random", "holdout": 0.2})  # fmt: skip
    with pytest.raises(UsageError, match="pass its address"):
        submitting.package("train", REAL, projects.load(long), "s3://bucket/sales.parquet")
    with pytest.raises(ConfigError, match="tag"):
        submitting.package("train", IMAGE, None)


@pytest.mark.parametrize("pipeline", ["train", "score"])
def test_kfps_own_loader_reads_it(pipeline: str) -> None:
    """As a component of other pipelines; a graph with the name of one of its steps would be taken for that step."""
    package = submitting.package(pipeline, REAL, None)
    loaded = components.load_component_from_text(package.decode())
    assert set(loaded.component_spec.inputs) == set(parameters(package))


@pytest.mark.slow
def test_kfp_alone_runs_it_to_a_release(tmp_path: Path) -> None:
    """A process that has never heard of us, KFP's own local runner, and at the end a version that serves."""
    place = settings.load(str(tmp_path / "home"), {}, actor="ann")
    project = write_project(tmp_path, source={"uri": write_table(tmp_path).as_uri()})
    package = tmp_path / "train.yaml"
    package.write_bytes(_ignoring_reach(project))
    assert _stock(tmp_path, package, place) == '"accepted"'
    (version,) = open_ledger(place.ledger).versions("homes")
    assert (version.created_by, version.approval) == ("ann", "approved")


def _ignoring_reach(project: Path) -> bytes:
    """A package whose table is a file: here a step reads it, which no pod would."""
    committed = (PIPELINES / "train.yaml").read_bytes()
    return submission.prepare(committed, REAL, defaults={"project": project.read_text()})


def _stock(tmp_path: Path, package: Path, place: Place) -> str:
    words = [sys.executable, "-W", "ignore", "-c", STOCK, str(package), str(tmp_path / "root"), place.model_dump_json()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where it looks for python3
    done = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout.splitlines()[-1]

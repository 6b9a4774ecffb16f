"""Packages: the same bytes everywhere, checked before they are written, and the digest of the code that they run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.steps.code_digest import code_digest
from pipelines.compiling.compiling import (
    IMAGE,
    compile_bytes,
    compile_package,
    graphs,
    is_current,
    read_package,
    with_image,
)
from serving.errors import ConfigError
from tests.pipelines.compiling.kfp_examples.loading import HERE, load
from tests.root import ROOT


@pytest.fixture(scope="module")
def chain():
    return load("chain").chain


def test_the_bytes_are_the_same_whatever_the_place(chain, tmp_path):
    """Another working directory, home, language, hash seed and process compile to the same bytes."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from chain import chain;"
        "from pipelines.compiling.compiling import compile_bytes; sys.stdout.buffer.write(compile_bytes(chain))"
    )
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", code, str(HERE)], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert elsewhere.stdout == compile_bytes(chain)


def test_the_bytes_carry_no_place_and_no_time(chain):
    """Nothing of this machine is in a package, and the version of the SDK is the pinned one."""
    text = compile_bytes(chain).decode()
    assert str(Path.cwd()) not in text
    assert str(HERE) not in text
    assert "sdkVersion: kfp-2.17.0" in text
    assert not text.startswith("#")


def test_a_package_is_current_until_the_pipeline_changes(chain, tmp_path):
    """The committed file is compared byte by byte; an absent one is not current."""
    package = tmp_path / "chain.yaml"
    assert not is_current(chain, package)
    compile_package(chain, package)
    assert is_current(chain, package)
    package.write_bytes(package.read_bytes().replace(b"0.4", b"0.5"))
    assert not is_current(chain, package)


@pytest.mark.parametrize(
    ("pipeline", "construct"),
    [
        ("exit_handler", "'root.dag.tasks.finish.inputs.parameters.status.taskFinalStatus'"),
        ("one_of", "valueFromOneof'"),
        ("number_condition", "the condition int(inputs.parameter_values['pipelinechannel--number']) > 0"),
        ("quote_in_condition", "== 'it's' of 'condition-1'"),
        ("written_out_loop", "parameterIterator.items.raw'"),
        ("importing", "'deploymentSpec.executors.exec-importer.importer'"),
        ("tried_again", "'root.dag.tasks.say.retryPolicy'"),
        ("job_name", "the placeholder in '{{$.pipeline_job_name}}' of 'say'"),
        ("text_around", 'the placeholder in "a {{$.inputs.parameters['),
        ("no_python", "the command of 'exec-container', which is no lightweight Python component"),
    ],
)
def test_what_a_run_here_would_not_follow_is_refused_by_name(pipeline, construct, tmp_path):
    """KFP compiles them without a word; they are told before a package is written, and so before any step runs."""
    with pytest.raises(ConfigError) as refusal:
        compile_package(getattr(load("refused"), pipeline), tmp_path / "package.yaml")
    assert str(refusal.value).startswith(f"pipeline {pipeline.replace('_', '-')!r}: ")
    assert construct in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


# --- the committed graphs --------------------------------------------------------------------------------------------


@pytest.fixture(params=list(graphs().values()), ids=lambda path: path.stem)
def committed(request) -> dict:
    return read_package(request.param.read_bytes())[0]


def test_every_step_is_ours(committed):
    """Each runs a doorway of this project in this project's image, and installs nothing when it runs."""
    executors = committed["deploymentSpec"]["executors"]
    assert executors
    for label, executor in executors.items():
        container = executor["container"]
        doorway = label.removeprefix("exec-").replace("-", "_")
        assert container["image"] == IMAGE
        assert container["args"][-1] == doorway
        assert "pip" not in " ".join(container["command"])
        imported = re.findall(r"^    from ([a-z]+)\.", container["command"][-1], re.MULTILINE)
        assert set(imported) == {"components"}
        assert (ROOT / "components" / f"{doorway}.py").is_file()


def test_no_value_is_written_into_a_graph(committed):
    """What a step is given is a parameter, an output or the run's id, so that no secret can be committed."""
    inputs = [
        source
        for component in (committed["root"], *committed["components"].values())
        for task in component.get("dag", {}).get("tasks", {}).values()
        for source in task.get("inputs", {}).get("parameters", {}).values()
    ]
    assert inputs
    written = [source["runtimeValue"]["constant"] for source in inputs if "runtimeValue" in source]
    assert set(written) <= {"{{$.pipeline_job_uuid}}"}
    known = {"componentInputParameter", "taskOutputParameter", "runtimeValue"}
    assert {key for source in inputs for key in source} <= known
    defaults = [spec.get("defaultValue", 0) for spec in committed["root"]["inputDefinitions"]["parameters"].values()]
    assert {default for default in defaults if isinstance(default, str)} <= {""}


def test_what_must_not_be_cached_knows_its_run(committed):
    """A client may ask for cached results of every step (`enable_caching=True`): a release is another in each run."""
    for component in (committed["root"], *committed["components"].values()):
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            inner = committed["components"][task["componentRef"]["name"]]
            if "dag" not in inner and not task["cachingOptions"].get("enableCache"):
                assert "run_id" in task["inputs"]["parameters"], name


def test_the_image_is_named_at_submission(chain):
    """Steps of the placeholder get the image with its digest; a step of another image keeps its own."""
    package = compile_bytes(chain)
    real = "registry.example/slipway-python@sha256:" + "0" * 64
    documents = read_package(with_image(package, real))
    images = {executor["container"]["image"] for executor in documents[0]["deploymentSpec"]["executors"].values()}
    assert images == {real}
    other = package.replace(IMAGE.encode(), b"other-python:1")
    assert with_image(other, real) == other


def test_the_code_digest_follows_the_code_and_the_lock(tmp_path):
    """Every Python file of components and serving, and the lock, count; nothing else and no place does."""
    for name in ("components/data/a.py", "serving/b.py", "requirements.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    first = code_digest(tmp_path)
    (tmp_path / "serving" / "notes.md").write_text("no code")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.py").write_text("no code of steps")
    assert code_digest(tmp_path) == first
    seen = {first}
    for name in ("components/data/a.py", "serving/b.py", "requirements.lock"):
        (tmp_path / name).write_text("changed")
        seen.add(code_digest(tmp_path))
    assert len(seen) == 4


def test_the_code_digest_of_this_checkout_is_stable():
    """Two looks at the same files agree, with or without the place given."""
    assert code_digest() == code_digest(ROOT)

"""What a cluster gets is what was committed, with the image's name, the secrets and nothing else put to it."""

import ast
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from components.steps.code_digest import code_digest
from components.steps.place import MOUNTED
from pipelines.compiling.compiling import IMAGE, read_package
from pipelines.deploying import image_tag
from pipelines.deploying.installed import USUAL
from pipelines.here.training import PACKAGE
from pipelines.kubeflow import submission, submitting
from serving.errors import ConfigError, InfrastructureError
from tests.root import ROOT

REAL = "registry.example/slipway-python:0123456789ab"

COMMITTED = PACKAGE.read_bytes()


@cache
def prepared(image: str = REAL) -> bytes:
    return submission.prepare(COMMITTED, image)


def mounts(package: bytes) -> dict[str, dict[str, str]]:
    """Executor -> path of each mounted secret -> its name."""
    executors = read_package(package)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {
        label.removeprefix("exec-"): {one["mountPath"]: one["secretName"] for one in executor.get("secretAsVolume", ())}
        for label, executor in executors.items()
    }


def test_only_the_image_differs() -> None:
    """The first document is the committed one again when the image's name is put back."""
    made = prepared()
    graph, committed = read_package(made)[0], read_package(COMMITTED)[0]
    assert graph != committed
    text = yaml.safe_dump(graph).replace(REAL, IMAGE)
    assert yaml.safe_load(text) == committed


def test_the_graph_has_one_digest_here_and_there() -> None:
    """Whatever image runs it, a run can show that it ran the committed graph; another graph has another digest."""
    digest = submission.ir_digest(COMMITTED)
    assert submission.ir_digest(prepared()) == digest
    assert submission.ir_digest(prepared(REAL + "0")) == digest
    changed = COMMITTED.replace(b"enableCache: true", b"enableCache: false", 1)
    assert submission.ir_digest(changed) != digest
    assert submission.ir_digest(submission.prepare(COMMITTED, REAL, cache=False)) != digest


def test_equal_bytes_have_one_name() -> None:
    """A version is named by what is in it, so that a second submission uploads nothing."""
    first, again = prepared(), submission.prepare(COMMITTED, REAL)
    other = prepared(REAL + "0")
    assert submission.version_name(first) == submission.version_name(again) != submission.version_name(other)


@pytest.mark.parametrize(
    ("step", "secrets"),
    [
        pytest.param("tune", set(), id="a-step-that-only-computes-mounts-nothing"),
        pytest.param("ingest", {"object-store", "ledger"}, id="ingest-reads-tables-of-the-store"),
        pytest.param("train", {"signing-key"}, id="train-signs"),
        pytest.param("evaluate", {"signing-key"}, id="evaluate-checks-signatures"),
        pytest.param("verify", {"signing-key"}, id="verify-checks-signatures"),
        pytest.param("gate", {"object-store", "ledger", "signing-key"}, id="gate-opens-the-champion"),
        pytest.param("register", {"object-store", "ledger"}, id="register-cannot-sign"),
        pytest.param("release", {"object-store", "ledger"}, id="release-cannot-sign"),
        pytest.param("decline", set(), id="decline-mounts-nothing"),
    ],
)
def test_a_step_mounts_what_it_needs(step: str, secrets: set[str]) -> None:
    """Secrets come as files where the place says they are, and only to the steps that use them."""
    found = mounts(prepared())[step]
    assert found == {f"/run/secrets/slipway/{one}": f"slipway-{one}" for one in secrets}


def test_who_starts_a_model_server_has_the_place_that_says_whose_code_it_may_load() -> None:
    """As has each step that is told a place, and no other."""
    executors = read_package(prepared())[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    placed = {name.removeprefix("exec-") for name, one in executors.items() if "configMapAsVolume" in one}
    assert placed == {"ingest", "split", "gate", "track", "verify", "register", "release"}
    (place,) = executors["exec-verify"]["configMapAsVolume"]
    assert (place["configMapName"], place["mountPath"]) == ("slipway-place", str(MOUNTED))


def stage_of(doorway: Path) -> set[str]:
    """Modules that a doorway's body imports."""
    found = ast.walk(ast.parse(doorway.read_text(encoding="utf-8")))
    return {node.module for node in found if isinstance(node, ast.ImportFrom) and node.module}


def test_whoever_opens_a_bundle_has_the_key() -> None:
    """A step whose stage looks for keys finds them, also one that is added later."""
    steps = mounts(prepared()) | mounts(submission.prepare(PACKAGE.with_name("score.yaml").read_bytes(), REAL))
    opening = set()
    for step, found in steps.items():
        doorway = ROOT / "components" / f"{step.replace('-', '_')}.py"
        if step == "collect-scores":  # shares its module with those that do
            continue
        stages = [name for name in stage_of(doorway) if name.startswith("components.") and ".stage" in name]
        texts = [(ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8") for name in stages]
        if any("champions" in text or "trusted_keys" in text for text in texts):
            opening.add(step)
            assert "/run/secrets/slipway/signing-key" in found, step
    assert opening


def test_every_field_is_one_that_old_servers_know() -> None:
    """Server 2.14 refuses a whole pipeline for one unknown field; these it takes."""
    documents = read_package(prepared())
    assert len(documents) == 2
    for executor in documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert set(executor) <= {"imagePullPolicy", "secretAsVolume", "configMapAsVolume"}
        assert executor["imagePullPolicy"] == "IfNotPresent"
        for one in executor.get("secretAsVolume", ()):
            assert set(one) == {"mountPath", "optional", "secretName", "secretNameParameter"}
        for one in executor.get("configMapAsVolume", ()):
            assert set(one) == {"mountPath", "optional", "configMapName", "configMapNameParameter"}


@pytest.mark.parametrize("image", ["slipway-python", "slipway-python:latest", IMAGE, "host:5000/slipway-python"])
def test_an_image_that_may_change_is_refused(image: str) -> None:
    """A server caches results by the image's name, so the name has to say what is in it."""
    with pytest.raises(ConfigError, match="tag"):
        submission.prepare(COMMITTED, image)


def test_a_digest_is_as_good_as_a_tag() -> None:
    assert b"@sha256:" in submission.prepare(COMMITTED, "slipway-python@sha256:" + "a" * 64)


def test_without_the_cache_every_task_runs() -> None:
    """No task of any group asks the server's cache."""
    assert b"enableCache" not in submission.prepare(COMMITTED, REAL, cache=False)
    assert b"enableCache" in COMMITTED


def test_a_run_is_about_the_code_in_the_image() -> None:
    """What `make deploy` noted of the image goes with the run; without notes, and of a foreign image, the run looks."""
    notes = {"slipway.dev/code": "c" * 64, "slipway.dev/commit": "abc"}
    spec = {"template": {"spec": {"containers": [{"image": "slipway-python:1234"}]}}}

    def found(obj: object) -> submitting.Deployed:
        return submitting.deployed(SimpleNamespace(get=lambda *_: obj), USUAL)  # type: ignore[arg-type]  # only what reads

    assert found({"metadata": {"annotations": notes}, "spec": spec}) == submitting.Deployed(
        "slipway-python:1234", "c" * 64, "abc"
    )
    assert submitting.in_image(REAL) == submitting.Deployed(REAL)
    ours = f"registry.example/slipway-python:{image_tag.tag('pipeline')}"
    assert submitting.in_image(ours).code == code_digest()
    assert found({"metadata": {}, "spec": spec}) == submitting.Deployed("slipway-python:1234")
    with pytest.raises(InfrastructureError, match="make deploy"):
        found(None)

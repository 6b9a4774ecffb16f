"""Packages: the same bytes everywhere, checked before they are written, and the digest of the code that they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.compiling.compiling import IMAGE, compile_bytes, compile_package, is_current, read_package, with_image
from pipelines.here.code_digest import code_digest
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


def test_a_refused_pipeline_is_not_written(tmp_path):
    """The lint stands before the file, and names the file that defines the pipeline."""
    with pytest.raises(ConfigError, match=r"^refused\.py:\d+: named-condition/condition-1"):
        compile_package(load("refused").named_condition, tmp_path / "package.yaml")
    assert list(tmp_path.iterdir()) == []


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

"""The table of images names what an installation pulls, no more and no less."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.deploying.images import TABLE, named, short, table
from pipelines.deploying.upstream import releases
from tests.manifests.support import needs_kubectl, needs_upstream, rendered
from tests.root import ROOT

KNOWN = table(TABLE.read_text(encoding="utf-8"))
OURS = [
    "overlays/kind",
    "overlays/production",
    *(f"controllers/{c}" for c in ("minio", "mlflow", "prometheus", "grafana")),
]
PATCHED = [
    "overlays/kind/gateway",
    "overlays/production/gateway",
    "controllers/pipelines",
    "components/pipelines-ui",
    "controllers/kserve",
]
DOCKERFILES = sorted((ROOT / "images").glob("*.Dockerfile"))
# A path with a tag, or the value of a word that means an image; an address has a scheme, or no path before its port.
PATH = re.compile(
    r"(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9._-]+(?:/[a-z0-9._-]+)*:[A-Za-z0-9_][\w.-]*(?:@sha256:[0-9a-f]{64})?"
)


def images_in(value: Any, word: str = "") -> Iterator[str]:
    """References in *value*, which stands behind *word*: in fields, variables, arguments, and texts that hold such."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from images_in(one, value["name"] if key == "value" and "name" in value else key)
    elif isinstance(value, list):
        for before, one in zip(["", *value], value, strict=False):
            yield from images_in(one, before if isinstance(before, str) and before.startswith("-") else word)
    elif isinstance(value, str):
        yield from _in_text(value, word)


def _in_text(text: str, word: str) -> Iterator[str]:
    option, equals, argument = text.partition("=")
    if equals and option.startswith("-"):
        yield from images_in(argument, option)
    elif PATH.fullmatch(text) and (re.search(r"image$", word, re.IGNORECASE) or "/" in text):
        yield text
    elif "\n" in text or text.startswith(("{", "[")):
        for parse in (json.loads, yaml.safe_load):
            try:
                yield from images_in(parse(text), word)
            except (ValueError, yaml.YAMLError):
                continue
            break


def bases(dockerfile: Path) -> set[str]:
    """The images that *dockerfile* begins its stages with."""
    text = dockerfile.read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE))
    return {
        arguments[base.strip("${}")] for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if base not in stages
    }


@needs_kubectl
@needs_upstream
def test_the_table_is_what_the_manifests_and_the_dockerfiles_name() -> None:
    """Of the pair of releases that is here, in whichever form; what only another pair names is left aside."""
    objects = (one for directory in (*OURS, *PATCHED) for one in rendered(directory))
    found = {
        image for one in objects if one["kind"] != "CustomResourceDefinition" for image in map(short, images_in(one))
    }
    found |= {short(base.partition("@")[0]) for dockerfile in DOCKERFILES for base in bases(dockerfile)}
    pairs = []
    for which in ("", "next"):
        here = {f"{name} {release.version}" for name, release in releases(which).items()}
        pairs.append({short(reference) for reference, image in KNOWN.items() if not image.only or image.only in here})

    assert found == min(pairs, key=lambda pair: len(pair ^ found))


@needs_kubectl
@pytest.mark.parametrize("directory", OURS)
def test_each_image_of_a_rendered_manifest_gets_its_digest(directory: str) -> None:
    """As docs/images.md has it, and the manifest is the same object by object but for its images."""
    before = list(rendered(directory))
    after = list(yaml.safe_load_all(named(yaml.safe_dump_all(before), KNOWN)))
    digests = {reference: f"@{image.digest}" * bool(image.digest) for reference, image in KNOWN.items()}

    assert list(images_in(after)) == [image + digests.get(image, " has no row") for image in images_in(before)]
    assert list(yaml.safe_load_all(named(yaml.safe_dump_all(after), KNOWN, digests=False))) == before


@pytest.mark.parametrize("which", ["", "next"])
def test_what_only_some_releases_name_belongs_to_releases_that_there_are(which: str) -> None:
    """A row of a pair that is gone would stay for ever."""
    versions = {f"{name} {release.version}" for one in ("", "next") for name, release in releases(one).items()}
    here = {f"{name} {release.version}" for name, release in releases(which).items()}

    assert {image.only for image in KNOWN.values()} - {""} <= versions
    assert {image.only for image in KNOWN.values()} & here


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_begins_with_what_the_table_pins(dockerfile: Path) -> None:
    """By tag and digest, the same as a manifest would name it."""
    found = bases(dockerfile)

    assert found == {f"{base}@{KNOWN[base].digest}" for base in (one.partition("@")[0] for one in found)}


def test_minio_is_the_release_that_it_is_called() -> None:
    """The module's version has the time of the commit, and its checksum stands beside it."""
    text = (ROOT / "images/minio.Dockerfile").read_text(encoding="utf-8")
    release = next(reference for reference, image in KNOWN.items() if image.built == "images/minio.Dockerfile")
    time = re.sub(r"\D", "", release.partition("RELEASE")[2])

    assert re.search(rf"^ARG MINIO_VERSION=v0\.0\.0-{time}-[0-9a-f]{{12}}$", text, re.MULTILINE)
    assert re.search(r"^ARG MINIO_SUM=h1:[A-Za-z0-9+/]{43}=$", text, re.MULTILINE)
    assert 'grep -qxF "github.com/minio/minio ${MINIO_VERSION} ${MINIO_SUM}" go.sum' in text


def test_minio_calls_itself_by_its_release() -> None:
    """Whoever asks the program which one it is gets the name of its image, not DEVELOPMENT."""
    text = (ROOT / "images/minio.Dockerfile").read_text(encoding="utf-8")
    release = next(reference for reference, image in KNOWN.items() if image.built == "images/minio.Dockerfile")
    version = re.search(r"^ARG MINIO_VERSION=(\S+)$", text, re.MULTILINE)
    made = re.search(r"at=\$\(.*\)(?= \\$)", text, re.MULTILINE)
    assert version
    assert made
    said = subprocess.run(
        ["sh", "-c", f'{made[0]}; echo "RELEASE.$(echo "${{at}}" | tr : -)"'],
        env={**os.environ, "MINIO_VERSION": version[1]}, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip

    assert said == release.partition(":")[2]


def test_images_are_found_in_all_that_names_them() -> None:
    """What this test looks with sees fields, variables, arguments, and JSON and YAML within texts, but no addresses."""
    one = {
        "image": "a:1",
        "env": [{"name": "V2_DRIVER_IMAGE", "value": "b:1"}, {"name": "HOST", "value": "minio:9000"}],
        "args": ["--executor-image", "c:1", "--image=d:1", "--address", "host:9000", "https://x.example/y:1"],
        "data": {"json": '{"image" : "e:1"}', "yaml": "x:\n  image: f:1\n", "path": "g/h:1", "prose": "see i:\nj"},
    }

    assert sorted(images_in(one)) == ["a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g/h:1"]

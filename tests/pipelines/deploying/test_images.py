"""Images are named by tag and digest wherever a text names them, and nothing else of the text changes."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.deploying import image_tag
from pipelines.deploying.images import TABLE, Image, name, named, short, table
from serving.errors import UsageError

KNOWN = table(TABLE.read_text(encoding="utf-8"))
REFERENCES = st.sampled_from(sorted(KNOWN))
PINNED = [reference for reference, image in KNOWN.items() if image.digest]
BUILT = [reference for reference, image in KNOWN.items() if image.built]
OTHER = "sha256:" + "0" * 64
MEETINGS = st.sampled_from(
    ["", " ", "\n", '"', "'", "=", ":", "/", ",", "@", "-", ".", "x", "1", "\\n", "@" + OTHER, "docker.io/"]
)
TEXTS = st.lists(st.one_of(MEETINGS, REFERENCES, REFERENCES.map(short), st.text(max_size=3)), max_size=12).map("".join)
WAYS = st.booleans()
GIVEN = st.lists(
    st.sampled_from(["registry.example:5000/slipway-python:0123", "slipway-serving:4567", "r.example/minio/minio:v9"])
)


HUB = ("", "library/", "docker.io/", "docker.io/library/")


def pinned(reference: str) -> str:
    return f"{reference}@{KNOWN[reference].digest}"


@given(TEXTS, GIVEN, WAYS)
def test_to_name_twice_is_to_name_once(text: str, built: list[str], digests: bool) -> None:
    """So a manifest may pass through two hands."""
    once = named(text, KNOWN, built, digests=digests)

    assert named(once, KNOWN, built, digests=digests) == once


@given(TEXTS)
def test_nothing_but_digests_comes_and_goes(text: str) -> None:
    """What is left without the digests that are known is what was there without them."""

    def bare(text: str) -> str:
        for digest in {image.digest for image in KNOWN.values()} - {""}:
            text = text.replace(f"@{digest}", "")
        return text

    assert bare(named(text, KNOWN)) == bare(text)
    assert bare(named(text, KNOWN, digests=False)) == bare(text)


@given(TEXTS)
def test_digests_that_were_added_can_be_left_away(text: str) -> None:
    """A cluster whose images were made on the spot reads what it would have read."""
    plain = named(text, KNOWN, digests=False)

    assert named(named(plain, KNOWN), KNOWN, digests=False) == plain


PLACES = {
    "field": lambda one: yaml.safe_dump({"containers": [{"image": one}]}),
    "argument": lambda one: yaml.safe_dump({"args": ["--executor-image", one, f"--other-image={one}"]}),
    "flow": lambda one: f"args: [a, {one}, b]",
    "variable": lambda one: yaml.safe_dump({"env": [{"name": "V2_DRIVER_IMAGE", "value": one}]}),
    "json in a ConfigMap": lambda one: yaml.safe_dump({"data": {"agent": json.dumps({"image": one}, indent=1)}}),
    "json in json": lambda one: json.dumps({"data": json.dumps({"image": one})}),
    "yaml in a ConfigMap": lambda one: yaml.safe_dump({"data": {"config": yaml.safe_dump({"image": one})}}),
    "Dockerfile": lambda one: f"ARG BASE={one}\nFROM {one} AS build\n",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reference", PINNED)
def test_an_image_is_found_wherever_it_stands(reference: str, place: str) -> None:
    """With its registry and without, where that is the hub; the rest of the text stays."""
    for one in {reference, *(f"{hub}{short(reference)}" for hub in HUB)}:
        text = PLACES[place](one)
        found = named(text, KNOWN)

        assert found == text.replace(one, f"{one}@{KNOWN[reference].digest}")
        assert named(found, KNOWN, digests=False) == text


@pytest.mark.parametrize("reference", KNOWN)
@pytest.mark.parametrize(
    "other",
    [
        pytest.param("{}.1", id="a longer tag"),
        pytest.param("{}-debug", id="a variant"),
        pytest.param("{}@" + OTHER, id="a digest of one's own"),
        pytest.param("mirror.example/{}", id="another registry"),
        pytest.param("my{}", id="a longer name"),
        pytest.param("my-{}", id="a name with a dash"),
    ],
)
def test_another_image_stays_as_it_is(reference: str, other: str) -> None:
    """Its digest is another, or somebody chose it."""
    text = f"image: {other.format(short(reference))}"
    built = [f"r.example/{name(one)}:new" for one in BUILT]

    assert named(text, KNOWN, built) == text
    assert named(text, KNOWN, digests=False) == text


@pytest.mark.parametrize("reference", BUILT)
def test_what_was_built_takes_the_place_of_what_stands_for_it(reference: str) -> None:
    """Under each name of it, whatever the registry, its port and the digest of what was built."""
    for built in (f"r.example:5000/team/{name(reference)}:new", f"{name(reference)}@{OTHER}"):
        for one in {reference, short(reference)}:
            assert named(f'{{"image":"{one}"}}', {reference: KNOWN[reference]}, [built]) == f'{{"image":"{built}"}}'


def test_an_image_that_is_pulled_is_not_replaced() -> None:
    """A typing mistake would otherwise deploy what no node has."""
    with pytest.raises(
        UsageError, match=r"'r/slipway-pyhton:1' has the name of no image.*slipway-python, slipway-serving, minio"
    ):
        named("", KNOWN, ["r/slipway-pyhton:1"])


def test_the_filter_does_what_the_function_does() -> None:
    """From standard input to standard output, with digests unless the call says no."""
    text = f"image: {PINNED[0]}\nimage: slipway-python:dev\n"
    command = [sys.executable, "-m", "pipelines.deploying.images", "slipway-python:12"]
    said = [
        subprocess.run([*command, *more], input=text, capture_output=True, text=True, check=True).stdout
        for more in ([], ["--no-digests"])
    ]

    assert said == [f"image: {one}\nimage: slipway-python:12\n" for one in (pinned(PINNED[0]), PINNED[0])]


def test_a_mistake_in_a_call_of_the_filter_writes_no_manifest() -> None:
    """Its reader must not apply half of one."""
    command = [sys.executable, "-m", "pipelines.deploying.images", "nginx:1"]
    ran = subprocess.run(command, input="image: slipway-python:dev", capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (UsageError.exit_code, "")
    assert "nginx:1" in ran.stderr


@pytest.mark.parametrize("reference", KNOWN)
def test_a_row_of_the_table_is_whole(reference: str) -> None:
    """A tag that is not `latest`, a digest or none, one way to have it."""
    image = KNOWN[reference]

    assert re.fullmatch(r"[a-z0-9./_-]+:[\w.-]+", reference)
    assert not reference.endswith(":latest")
    assert re.fullmatch(r"(sha256:[0-9a-f]{64})?", image.digest)
    assert not (image.digest and image.built)
    assert image.licence
    assert image.use


def test_what_is_built_here_has_a_row_and_is_called_by_it() -> None:
    """Ours by a digest of their content, a release of others as it was released."""
    assert {image_tag.listed(one, KNOWN) for one in image_tag.NAMES} == {
        reference for reference, image in KNOWN.items() if image.built.startswith("images/")
    }
    assert image_tag.reference("serving") == f"slipway-serving:{image_tag.tag('serving')}"
    assert image_tag.reference("minio") == short(image_tag.listed("minio", KNOWN))


def test_a_table_with_an_unknown_word_is_refused() -> None:
    """A misspelt digest would be none."""
    with pytest.raises(TypeError, match="digset"):
        table("a:1: {licence: MIT, use: x, digset: y}")
    assert table("a:1: {licence: MIT, use: x}") == {"a:1": Image("MIT", "x")}

"""Third parties' manifests: what was not looked at is not applied, whoever rendered what was."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.deploying import pins, upstream
from pipelines.deploying.versions import known_versions
from serving.errors import ConfigError, GateRefusal, InfrastructureError

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "server", "namespace": "here"},
    "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "a", "image": "a:v1"}]}}},
}
ACCOUNT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "server", "namespace": "here", "annotations": {"since": "2026-01-01"}},
}
ROLE: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "reads"},
    "rules": [{"verbs": ["get"], "resources": ["pods"], "apiGroups": [""]}],
}
ALL = [DEPLOYMENT, ACCOUNT, ROLE]
RELEASE = upstream.ThirdParty(version="v1", file="x.yaml", into="out.yaml")


def manifest(*found: Any, **style: Any) -> bytes:
    return yaml.safe_dump_all(found, **style).encode()


PINS = pins.of(pins.objects(manifest(*ALL)))


@settings(max_examples=50, deadline=None)
@given(
    order=st.permutations(ALL),
    flow=st.booleans(),
    width=st.sampled_from([20, 80, 1000]),
    listed=st.booleans(),
    empty=st.booleans(),
    comment=st.sampled_from([b"", b"# rendered by another program\n---\n"]),
)
def test_who_rendered_a_manifest_makes_no_difference(
    order: list[Any], flow: bool, width: int, listed: bool, empty: bool, comment: bytes
) -> None:
    """Order, comments, quotes, line breaks, lists and empty fields: the same bytes are applied."""
    found = [{**one, "metadata": {**one["metadata"], "creationTimestamp": None}, "status": {}} for one in order]
    found = found if empty else order
    wrapped = [{"apiVersion": "v1", "kind": "List", "items": found}] if listed else found
    data = comment + manifest(*wrapped, default_flow_style=flow, width=width, sort_keys=False)
    said = pins.judged("x", pins.objects(data), PINS)
    assert pins.of(pins.objects(said)) == PINS
    if not empty:
        assert said == pins.judged("x", pins.objects(manifest(*ALL)), PINS)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param([ACCOUNT, ROLE], "Deployment.apps here/server is absent", id="absent"),
        pytest.param([*ALL, {**ROLE, "metadata": {"name": "all"}}], "ClusterRole.* -/all is not pinned", id="more"),
        pytest.param([{**DEPLOYMENT, "spec": {"replicas": 2}}, ACCOUNT, ROLE], "here/server was changed", id="changed"),
        pytest.param(
            [DEPLOYMENT, {**ACCOUNT, "automountServiceAccountToken": True}, ROLE], "changed", id="a-field-more"
        ),
        pytest.param([DEPLOYMENT, ACCOUNT, {**ROLE, "apiVersion": "rbac/v2"}], "2 of 3 objects", id="another-group"),
    ],
)
def test_an_object_that_was_not_looked_at_is_refused_by_name(tmp_path: Path, found: list[Any], said: str) -> None:
    """And nothing is written."""
    (tmp_path / "pinned").mkdir()
    (tmp_path / "pinned" / "x-v1.txt").write_text(pins.lines(PINS))
    (tmp_path / "x.yaml").write_bytes(manifest(*found))
    with pytest.raises(GateRefusal, match=said):
        upstream.bring({"x": RELEASE}, upstream.from_directory(tmp_path), tmp_path, lambda _: None)
    assert not (tmp_path / "out.yaml").exists()


def test_a_file_that_carries_another_release_too_loses_it(tmp_path: Path) -> None:
    """Envoy Gateway's release file brings Gateway API's types, which have a release of their own."""
    (tmp_path / "pinned").mkdir()
    (tmp_path / "pinned" / "x-v1.txt").write_text(pins.lines(pins.of(pins.objects(manifest(DEPLOYMENT, ACCOUNT)))))
    (tmp_path / "pinned" / "y-v1.txt").write_text(pins.lines(pins.of(pins.objects(manifest(ROLE)))))
    releases = {"x": RELEASE, "y": RELEASE.model_copy(update={"into": "other.yaml"})}
    upstream.bring(
        releases, lambda name, _: manifest(*ALL) if name == "x" else manifest(ROLE), tmp_path, lambda _: None
    )
    assert list(pins.objects((tmp_path / "out.yaml").read_bytes())) == [
        "Deployment.apps here/server",
        "ServiceAccount here/server",
    ]


def test_a_manifest_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    """The second `make upstream` needs no network; what was changed in place since is fetched anew."""
    said: list[str] = []
    upstream.bring({"x": RELEASE}, lambda *_: manifest(*ALL), tmp_path, said.append, accept=True)
    upstream.bring({"x": RELEASE}, lambda *_: pytest.fail("fetched"), tmp_path, said.append)
    (tmp_path / "out.yaml").write_bytes(manifest(ROLE))
    upstream.bring({"x": RELEASE}, lambda *_: manifest(*ALL), tmp_path, said.append)
    assert ["is there" in line for line in said] == [False, True, False]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: [", "no YAML"),
        (b"just words", "expected objects"),
        (b"kind: A\n", "expected objects"),
        (manifest(ACCOUNT, {**ACCOUNT, "secrets": []}), "ServiceAccount here/server is there twice"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, said: str) -> None:
    """An error page of a proxy is no manifest."""
    with pytest.raises(ConfigError, match=said):
        pins.objects(data)


def test_a_directory_without_the_file_says_which(tmp_path: Path) -> None:
    """Of five files one is easily forgotten."""
    release = upstream.ThirdParty(version="v1", file="kserve.yaml", into="o")

    with pytest.raises(ConfigError, match=r"no file kserve\.yaml"):
        upstream.from_directory(tmp_path)("kserve", release)


def test_a_place_that_does_not_answer_is_named_with_the_way_around() -> None:
    """An air-gapped site learns of UPSTREAM=DIR here."""
    release = upstream.ThirdParty(version="v1", file="x", into="o", url="https://127.0.0.1:9/x.yaml")

    with pytest.raises(InfrastructureError, match="UPSTREAM=DIR"):
        upstream.from_network("x", release)


@pytest.mark.parametrize("which", ["", "next"])
def test_every_release_has_one_place_to_come_from_and_its_pins(which: str) -> None:
    """What is rendered is named by a commit, which nobody can move."""
    releases = upstream.releases(which)
    assert releases
    for name, release in releases.items():
        assert bool(release.url) != bool(release.kustomize), name
        assert upstream.pinned(name, release), name
        assert release.into.endswith("/upstream.yaml"), name
        assert re.search(r"[?]ref=[0-9a-f]{40}$", release.kustomize) or release.version in release.url, name


def test_the_releases_that_are_brought_are_those_that_ran() -> None:
    """What `make upstream` brings, with and without RELEASES, is a pair of the list."""
    brought = [upstream.releases(which) for which in ("", "next")]
    pairs = [{name: found[name].version for name in ("pipelines", "kserve")} for found in brought]
    assert pairs == list(known_versions().pairs)


def test_a_release_that_is_published_in_two_forms_is_taken_in_both() -> None:
    """A file names an image without the registry, a chart with it; a third spelling is nobody's."""

    def form(image: str) -> dict[str, dict[str, Any]]:
        return pins.objects(manifest({**DEPLOYMENT, "spec": {"image": image}}))

    known = pins.of(form("docker.io/a/b:v1"), pins.of(form("a/b:v1")))
    assert pins.read(pins.lines(known)) == known
    for image in ("a/b:v1", "docker.io/a/b:v1"):
        assert image.encode() in pins.judged("x", form(image), known)
    with pytest.raises(GateRefusal, match=r"was changed: expected SHA-256 [0-9a-f]{12} or [0-9a-f]{12}, got"):
        pins.judged("x", form("a/b:v2"), known)


def test_what_a_chart_stamps_on_all_it_makes_is_not_said() -> None:
    """A chart packaged for a release and the tree it was packaged from differ in two labels; a label alone stays."""

    def labelled(**labels: str) -> dict[str, Any]:
        spec = {"template": {"metadata": {"labels": {"app": "a", **labels}}}}
        return {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "labels": labels}, "spec": spec}

    stamps = [{"helm.sh/chart": f"a-{version}", "app.kubernetes.io/version": version} for version in ("v1", "latest")]
    assert pins.plain(labelled(**stamps[0])) == pins.plain(labelled(**stamps[1])) == pins.plain(labelled())
    assert "v1" in str(pins.plain(labelled(**{"app.kubernetes.io/version": "v1"})))


def test_the_releases_of_a_name_are_brought_from_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make upstream UPSTREAM=DIR`, with and without RELEASES; an object that was tampered with ends with code 4."""
    monkeypatch.setattr(upstream, "MANIFESTS", tmp_path / "manifests")
    copies = tmp_path / "copies"
    copies.mkdir()
    for release in upstream.releases().values():
        (copies / release.file).write_bytes(manifest({**ROLE, "metadata": {"name": release.file}}))
    for which in ([], ["--releases", "next"]):
        words = ["--from", str(copies), *which]
        assert CliRunner().invoke(upstream.main, [*words, "--accept"]).exit_code == 0
        assert CliRunner().invoke(upstream.main, words).exit_code == 0
    (copies / "kserve.yaml").write_bytes(manifest(ROLE))
    (tmp_path / "manifests" / upstream.releases()["kserve"].into).unlink()
    refused = CliRunner().invoke(upstream.main, ["--from", str(copies), "--releases", "next"])
    assert (refused.exit_code, "ClusterRole.rbac.authorization.k8s.io -/kserve.yaml is absent" in refused.output) == (
        GateRefusal.exit_code,
        True,
    )

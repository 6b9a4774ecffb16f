"""Own code: what a package offers goes into a bundle by name, version and digest, and out of it where allowed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.judging.stages import verify
from components.modelling.checking import check_model
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.profiles import profile
from components.modelling.training import fit
from components.steps import place as places
from serving.bundle.bundle import open_bundle, write_bundle
from serving.bundle.signing import SigningKey
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, GateRefusal
from serving.predictor.settings import parse

CONTRACT = Contract.model_validate(
    {
        "columns": {"area": {"type": "float"}, "kind": {"type": "category", "values": ["a", "b"]}},
        "target": {"name": "y"},
    }
)
FEATURES = FeatureSpec(own={"shore": ("area", "kind")})
FOREST = ModelSpec(family="random_forest", params={"n_estimators": 5})
KEY = SigningKey.generate()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "shoreline"]:
        del sys.modules[name]


def rows(n: int = 120) -> Matrix:
    random = np.random.default_rng(5)
    return np.column_stack([random.normal(100, 30, n), random.integers(0, 2, n)])


def made(folder: Path, features: FeatureSpec = FEATURES, model: ModelSpec = FOREST) -> tuple[Path, Matrix]:
    """A bundle with code of the example, and what its pipeline answered before it was stored."""
    matrix = rows()
    target = np.abs(matrix[:, 0] - 100) + matrix[:, 1]
    pipeline = fit(matrix, target, CONTRACT, features, model, 0)
    said = np.asarray(pipeline.predict(CONTRACT.frame(matrix)))
    write_bundle(
        folder / "bundle",
        pipeline=pipeline,
        contract=CONTRACT,
        profile=profile(matrix, CONTRACT, said, target),
        golden=matrix[:20],
        card="of a test",
        provenance={},
        key=KEY,
    )
    return folder / "bundle", said


@pytest.mark.parametrize(
    ("features", "family", "held"),
    [
        pytest.param(FEATURES, "ridge", "shoreline.shore.Shore", id="transformer"),
        pytest.param(FeatureSpec(), "bands", "shoreline.bands.Bands", id="family"),
    ],
)
def test_a_bundle_with_it_answers_what_was_fitted(
    tmp_path: Path, installed: Path, features: FeatureSpec, family: str, held: str
) -> None:
    """By the library, since it has no fast form, which the bundle says; the manifest names what it needs."""
    place, said = made(tmp_path, features, ModelSpec(family=family))
    with pytest.raises(GateRefusal, match="may not load"):
        open_bundle(place, [KEY.public], packages=())

    bundle = open_bundle(place, [KEY.public], deep=True, packages=("shoreline",))

    assert bundle.scorer.score(rows()).tolist() == said.tolist()
    assert bundle.manifest["scoring"] == {"form": "sklearn", "reason": "code of shoreline has no fast form"}
    (needed,) = bundle.manifest["own"]
    assert (needed["package"], needed["version"]) == ("shoreline", "1.2.0")
    assert needed["types"] == [held]


def _other_version(place: Path) -> None:
    metadata = next(place.glob("*.dist-info")) / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.2.0", "Version: 1.3.0"))


def _other_files(place: Path) -> None:
    module = place / "shoreline" / "shore.py"
    module.write_text(module.read_text() + "\n# changed\n")


def _one_more_file(place: Path) -> None:
    (place / "shoreline" / "data.txt").write_text("more")


def _gone(place: Path) -> None:
    sys.path.remove(str(place))


def _no_offer(place: Path) -> None:
    (next(place.glob("*.dist-info")) / "entry_points.txt").unlink()


@pytest.mark.parametrize(
    ("change", "allowed", "told"),
    [
        pytest.param(lambda _: None, (), "may not load.*SLIPWAY_OWN_PACKAGES", id="not-allowed"),
        pytest.param(lambda _: None, ("other",), "may not load", id="another-allowed"),
        pytest.param(_other_version, ("shoreline",), "1.2.0, and 1.3.0 is installed", id="another-version"),
        pytest.param(_other_files, ("shoreline",), "are others than those", id="changed-files"),
        pytest.param(_one_more_file, ("shoreline",), "are others than those", id="one-more-file"),
        pytest.param(_gone, ("shoreline",), "none that offers its code is installed", id="not-installed"),
        pytest.param(_no_offer, ("shoreline",), "none that offers its code is installed", id="offers-nothing"),
        pytest.param(_other_files, None, "are others than those", id="changed-where-all-are-allowed"),
    ],
)
def test_what_is_not_as_it_was_is_refused_before_it_is_imported(
    tmp_path: Path, installed: Path, change: Callable[[Path], None], allowed: tuple[str, ...] | None, told: str
) -> None:
    """In one sentence that says what to do."""
    place, _ = made(tmp_path)
    _forget()
    change(installed)

    with pytest.raises(GateRefusal, match=told) as refusal:
        open_bundle(place, [KEY.public], packages=allowed)

    assert "\n" not in str(refusal.value)
    assert "shoreline" not in sys.modules


def test_what_another_package_offers_by_the_same_names_is_nothing_to_a_bundle(
    tmp_path: Path, installed: Path, request: pytest.FixtureRequest
) -> None:
    """Which knows its package by name; who trains is told."""
    place, said = made(tmp_path)
    request.getfixturevalue("offered_twice")
    assert open_bundle(place, [KEY.public], packages=("shoreline",)).scorer.score(rows()).tolist() == said.tolist()


def test_a_server_allows_none_that_its_settings_do_not_name(tmp_path: Path, installed: Path) -> None:
    """From the variable as from the flag."""
    from serving.predictor.__main__ import open_trusted

    place, said = made(tmp_path)
    (tmp_path / "key.pem").write_bytes(KEY.public.pem)
    flags = ["--bundle", str(place), "--trusted_key", str(tmp_path / "key.pem")]
    with pytest.raises(GateRefusal, match="may not load"):
        open_trusted(parse(flags, {}))
    for settings in (
        parse(flags, {"SLIPWAY_OWN_PACKAGES": "other, shoreline"}),
        parse([*flags, "--own_packages", "shoreline"], {}),
        parse([*flags, "--own_packages", "Shoreline"], {}),
    ):
        assert open_trusted(settings).scorer.score(rows()).tolist() == said.tolist()


def test_the_server_of_a_step_allows_what_its_cluster_names(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the place that the step mounts, since nothing is said in its environment."""
    bundle, _ = made(tmp_path)
    key, mounted = tmp_path / "key.pem", tmp_path / "mounted"
    key.write_bytes(KEY.public.pem)
    monkeypatch.setattr(places, "MOUNTED", mounted)
    with pytest.raises(GateRefusal, match=r"refuses the candidate: .*may not load"):
        verify("homes", str(key), str(bundle))

    mounted.mkdir()
    (mounted / "SLIPWAY_OWN_PACKAGES").write_text("other,shoreline\n")

    assert json.loads(verify("homes", str(key), str(bundle)))["rows"] == 20


@pytest.mark.parametrize(
    ("own", "told"),
    [
        pytest.param(
            {"shoer": ["area"]}, "features.own.shoer: no installed package offers it.*one of shore", id="name"
        ),
        pytest.param({"shore": ["aera"]}, "features.own.shore: expected some of area, kind; seen aera", id="column"),
        pytest.param({"shore": []}, "features.own.shore: expected some of area, kind; seen nothing", id="none"),
    ],
)
def test_a_mistake_is_told_when_the_project_is_read(installed: Path, own: dict[str, Any], told: str) -> None:
    """By its key."""
    spec = FeatureSpec.model_validate({"own": {name: tuple(given) for name, given in own.items()}})
    with pytest.raises(ConfigError, match=told):
        check_model(ModelSpec(family="ridge"), spec, CONTRACT)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("raise OSError('no licence')", "features.own.shore: shoreline.shore:Shore cannot be made: .*no licence"),
        ("def fit(self, X, y=None): raise KeyError('no sea')", "ridge cannot be fitted .*no sea"),
    ],
)
def test_whatever_a_package_raises_is_told_when_the_project_is_read(installed: Path, line: str, told: str) -> None:
    """In its import as in a fit to made rows."""
    file = installed / "shoreline" / "shore.py"
    text = file.read_text()
    file.write_text(f"{text}\n{line}\n" if line.startswith("raise") else f"{text}\n\n{line}\nShore.fit = fit\n")
    with pytest.raises(ConfigError, match=told):
        check_model(ModelSpec(family="ridge"), FEATURES, CONTRACT)


def test_a_type_that_nobody_offers_stays_out_of_a_bundle(tmp_path: Path, installed: Path) -> None:
    """That a package is installed is not enough."""
    from sklearn.pipeline import Pipeline

    from serving.bundle.model_file import write_model
    from serving.bundle.own import TRANSFORMERS, offer

    found = offer(TRANSFORMERS, "shore")
    assert found is not None
    shore = found.load()().fit(rows())
    _no_offer(installed)
    with pytest.raises(GateRefusal, match=r"a bundle cannot hold shoreline.shore.Shore"):
        write_model(Pipeline([("shore", shore)]))

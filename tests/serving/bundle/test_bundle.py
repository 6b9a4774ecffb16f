"""A bundle: written the same anywhere, opened only when everything about it is as it was signed."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, PowerTransformer, StandardScaler
from sklearn.svm import SVC

from serving.archive import pack_arrays, unpack_arrays
from serving.bundle.bundle import export_joblib, open_bundle, write_bundle
from serving.bundle.judgement import Calibration, Judgement
from serving.bundle.manifest import installed_libraries
from serving.bundle.signing import SigningKey, sign
from serving.contract import Contract
from serving.errors import DataError, GateRefusal, UsageError
from serving.files import canonical_json, sha256_bytes
from serving.profile import NumericHistogram, Profile
from tests.root import ROOT

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
COLUMNS = {
    "area": {"type": "float", "nullable": True},
    "rooms": {"type": "int"},
    "kind": {"type": "category", "values": ["house", "flat"], "nullable": True, "unknown": "flag"},
}
CONTRACT = Contract.model_validate({"columns": COLUMNS, "target": {"name": "price"}})
CLASSES = Contract.model_validate({"columns": COLUMNS, "target": {"name": "price", "classes": ["low", "high"]}})
PROFILE = Profile(rows=0, inputs={}, prediction=NumericHistogram(edges=(0.0,), counts=(0, 0)))
RNG = np.random.default_rng(0)
MATRIX = np.column_stack([RNG.normal(100, 30, 150), RNG.integers(1, 6, 150), RNG.integers(0, 2, 150)]).astype(float)
PRICE = MATRIX[:, 0] * 3 + MATRIX[:, 1] * 20 + RNG.normal(size=150)


def fitted(model: Any = None, scaler: Any = None, contract: Contract = CONTRACT) -> Pipeline:
    columns = ColumnTransformer(
        [
            ("numbers", scaler or StandardScaler(), ["area", "rooms"]),
            ("kind", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["kind"]),
        ]
    )
    pipeline = Pipeline(
        [("c", columns), ("m", HistGradientBoostingRegressor(max_iter=5, random_state=0) if model is None else model)]
    )
    return pipeline.fit(contract.frame(MATRIX), PRICE if contract is CONTRACT else (PRICE > 350).astype(int))


def write(directory: Path, pipeline: Pipeline | None = None, contract: Contract = CONTRACT, **changes: Any) -> str:
    settings: dict[str, Any] = {
        "golden": MATRIX[:40],
        "card": "# A model\n",
        "provenance": {"snapshot": "9f3c", "seed": 7},
        "key": KEY,
        "profile": PROFILE,
    }
    return write_bundle(directory, pipeline=pipeline or fitted(), contract=contract, **{**settings, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "one"
    write(directory)
    return directory


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def resign(directory: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Sign the files as they are now, as somebody who holds the key could."""
    manifest = json.loads((directory / "manifest.json").read_bytes())
    for name in manifest["files"]:
        if (directory / name).exists():
            manifest["files"][name]["sha256"] = sha256_bytes((directory / name).read_bytes())
    change(manifest)
    data = canonical_json(manifest)
    (directory / "manifest.json").write_bytes(data)
    (directory / "manifest.sig").write_bytes(sign(data, KEY))


def test_a_bundle_scores_what_its_pipeline_predicts(written: Path) -> None:
    """The scorer of an opened bundle is the exact fast form, and everything else is there."""
    bundle = open_bundle(written, [KEY.public])
    assert bundle.scorer.form == "trees"
    np.testing.assert_array_equal(bundle.scorer.score(MATRIX), fitted().predict(CONTRACT.frame(MATRIX)))
    assert bundle.contract == CONTRACT
    assert bundle.profile == PROFILE
    assert bundle.manifest["provenance"] == {"snapshot": "9f3c", "seed": 7}
    assert bundle.manifest["libraries"].keys() >= {"numpy", "python", "scikit-learn", "skops"}
    np.testing.assert_array_equal(bundle.pipeline.predict(CONTRACT.frame(MATRIX)), bundle.scorer.score(MATRIX))
    assert open_bundle(written, [KEY.public], deep=True).digest == bundle.digest


def test_the_digest_names_the_manifest_and_every_place_gives_the_same(written: Path, tmp_path: Path) -> None:
    """The same training gives the same bytes in another directory; another model, card or fact gives another digest."""
    again = write(tmp_path / "elsewhere" / "two")
    assert again == hashlib.sha256((written / "manifest.json").read_bytes()).hexdigest()
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "elsewhere" / "two" / path.name).read_bytes(), path.name
    others = {
        write(tmp_path / "a", fitted(HistGradientBoostingRegressor(max_iter=6, random_state=0))),
        write(tmp_path / "b", card="# Another\n"),
        write(tmp_path / "c", provenance={"seed": 8}),
        write(tmp_path / "d", golden=MATRIX[:41]),
    }
    assert len(others | {again}) == 5


def test_opening_imports_neither_scikit_learn_nor_skops(written: Path) -> None:
    """A server of the fast form starts without them, though model.skops was audited."""
    (written.parent / "key.pub").write_bytes(KEY.public.pem)
    script = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from pathlib import Path\n"
        "from serving.bundle.bundle import open_bundle\n"
        "from serving.bundle.signing import load_public_key\n"
        "bundle = open_bundle(Path(sys.argv[1]), [load_public_key(sys.argv[2])])\n"
        "bundle.scorer.score(bundle.golden)\n"
        "print([name for name in ('sklearn', 'skops', 'joblib', 'polars') if name in sys.modules])"
    )
    arguments = [str(written), str(written.parent / "key.pub"), str(ROOT)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("model", "contract", "form"),
    [
        pytest.param(Ridge(), CONTRACT, "linear", id="linear"),
        pytest.param(RandomForestClassifier(4, random_state=0), CLASSES, "trees", id="classification"),
    ],
)
def test_other_families_are_bundled_too(model: Any, contract: Contract, form: str, tmp_path: Path) -> None:
    """Regression gives one number per row, classification one probability per class."""
    pipeline = fitted(model, contract=contract)
    write(tmp_path / "b", pipeline, contract)
    bundle = open_bundle(tmp_path / "b", [KEY.public], deep=True)
    assert bundle.scorer.form == form
    assert bundle.scorer.score(MATRIX).shape == ((150,) if contract is CONTRACT else (150, 2))


@pytest.mark.parametrize(
    "model", [RandomForestClassifier(4, random_state=0), LogisticRegression()], ids=["trees", "linear"]
)
def test_a_calibrated_model_answers_calibrated_probabilities_in_either_form(model: Any, tmp_path: Path) -> None:
    """What is kept beside it is signed and applied to whichever form answers; the pipeline stays as it was."""
    line = Calibration(kind="isotonic", stated=((0.0, 0.4, 1.0),), observed=((0.1, 0.2, 0.7),))
    kept = Judgement(calibration=line, threshold=0.25)
    pipeline = fitted(model, contract=CLASSES)
    write(tmp_path / "b", pipeline, CLASSES, judgement=kept)
    bundle = open_bundle(tmp_path / "b", [KEY.public], deep=True)
    assert bundle.judgement == kept
    assert "calibrated (isotonic)" in bundle.scorer.reason
    raw = pipeline.predict_proba(CLASSES.frame(MATRIX))
    np.testing.assert_allclose(bundle.scorer.score(MATRIX), line.calibrated(raw), rtol=1e-12)
    path = tmp_path / "b" / "judgement.json"
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26"))
    with pytest.raises(GateRefusal, match=r"judgement\.json is not the file that was signed"):
        open_bundle(tmp_path / "b", [KEY.public])


def test_golden_rows_with_gaps_and_unknown_categories_come_back(tmp_path: Path) -> None:
    """Missing cells are null in golden.json and NaN again in the bundle."""
    golden = MATRIX[:3].copy()
    golden[0, 0], golden[1, 2], golden[2, 2] = np.nan, np.nan, 2.0
    write(tmp_path / "b", golden=golden)
    np.testing.assert_array_equal(open_bundle(tmp_path / "b", [KEY.public]).golden, golden)


def flip(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        data = bytearray((directory / name).read_bytes())
        data[len(data) // 2] ^= 1
        (directory / name).write_bytes(data)

    return change


def swap_model(directory: Path) -> None:
    write(directory.parent / "other", fitted(HistGradientBoostingRegressor(max_iter=2, random_state=1)))
    shutil.copy(directory.parent / "other" / "model.skops", directory / "model.skops")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *(
            pytest.param(flip(name), f"{name} is not the file that was signed", id=f"a-bit-of-{name}")
            for name in ("model.skops", "scoring.npz", "contract.json", "profile.json", "golden.json", "card.md")
        ),
        pytest.param(flip("manifest.json"), "changed after signing", id="a-bit-of-manifest.json"),
        pytest.param(swap_model, r"model\.skops is not the file that was signed", id="swapped-file"),
        pytest.param(lambda d: (d / "scoring.npz").unlink(), r"scoring\.npz is missing", id="missing-file"),
        pytest.param(lambda d: (d / "notes.pkl").touch(), r"notes\.pkl is not part", id="extra-file"),
        pytest.param(lambda d: (d / "more").mkdir(), "more is not part", id="extra-directory"),
        pytest.param(lambda d: (d / "manifest.sig").unlink(), r"manifest\.sig cannot be read", id="no-signature"),
        pytest.param(lambda d: (d / "manifest.sig").write_text("{}"), "not a signature envelope", id="empty-signature"),
    ],
)
def test_a_changed_bundle_is_refused(copy: Path, change: Callable[[Path], Any], sentence: str) -> None:
    """Whatever differs from what was signed is refused by name."""
    change(copy)
    with pytest.raises(GateRefusal, match=sentence):
        open_bundle(copy, [KEY.public])


def test_a_bundle_of_another_key_is_refused(written: Path) -> None:
    """Nobody else's signature is believed."""
    with pytest.raises(GateRefusal, match="expected one of the trusted keys"):
        open_bundle(written, [OTHER.public])


def spoil_nodes(directory: Path) -> None:
    arrays = unpack_arrays((directory / "scoring.npz").read_bytes())
    arrays["nodes"]["right"][np.flatnonzero(arrays["nodes"]["test"] >= 0)[0]] = 10**8
    (directory / "scoring.npz").write_bytes(pack_arrays(arrays))


def older(version: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["libraries"]["scikit-learn"] = version

    return change


def foreign_name(manifest: dict[str, Any]) -> None:
    manifest["files"]["../secret"] = {"sha256": "0", "bytes": 0}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(older("1.8.2"), "trained with scikit-learn 1.8.2", id="other-minor"),
        pytest.param(lambda m: m.update(format=2), "has format 2", id="other-format"),
        pytest.param(lambda m: m["files"].pop("model.skops"), r"model\.skops is missing", id="unlisted-model"),
        pytest.param(foreign_name, "secret", id="path-out-of-the-bundle"),
    ],
)
def test_a_signed_manifest_must_still_fit_this_process(
    copy: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    """Versions, format and names are checked even under a good signature."""
    resign(copy, change)
    with pytest.raises(GateRefusal, match=sentence):
        open_bundle(copy, [KEY.public])


def test_another_patch_of_scikit_learn_is_taken(copy: Path) -> None:
    """Only the minor version has to match."""
    here = installed_libraries()["scikit-learn"]
    resign(copy, older(".".join([*here.split(".")[:2], "99"])))
    assert open_bundle(copy, [KEY.public]).scorer.form == "trees"


def test_crafted_arrays_are_refused_under_a_good_signature(copy: Path) -> None:
    """Indices of the fast form are checked before a loop follows them."""
    spoil_nodes(copy)
    resign(copy)
    with pytest.raises(GateRefusal, match=r"scoring\.npz holds tree 0"):
        open_bundle(copy, [KEY.public])


def test_a_pickle_in_place_of_the_model_is_never_loaded(copy: Path) -> None:
    """A joblib file named model.skops is refused without being read as one."""
    joblib.dump(Bomb(), copy / "model.skops")
    resign(copy)
    with pytest.raises(GateRefusal, match=r"model\.skops is damaged or crafted"):
        open_bundle(copy, [KEY.public])


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


def test_a_wrong_fast_form_falls_back_to_scikit_learn_and_says_so(copy: Path, tmp_path: Path) -> None:
    """A fast form that misses a golden row is not served; the pipeline answers. A deep check refuses the pair."""
    write(tmp_path / "other", fitted(HistGradientBoostingRegressor(max_iter=4, random_state=0)))
    shutil.copy(tmp_path / "other" / "scoring.npz", copy / "scoring.npz")
    resign(copy)
    bundle = open_bundle(copy, [KEY.public])
    assert bundle.scorer.form == "sklearn"
    assert "differs from the pipeline in golden row 0" in bundle.scorer.reason
    np.testing.assert_array_equal(bundle.scorer.score(MATRIX), fitted().predict(CONTRACT.frame(MATRIX)))
    with pytest.raises(GateRefusal, match="two different models"):
        open_bundle(copy, [KEY.public], deep=True)


def test_a_model_that_predicts_no_numbers_is_no_bundle(tmp_path: Path) -> None:
    """Refused when it would be written, with the row, and nothing is left behind."""
    pipeline = fitted(Ridge())
    pipeline["m"].coef_[0] = 1e308
    with pytest.raises(DataError, match="golden row 0 is not a finite number"):
        write(tmp_path / "bundle", pipeline, golden=MATRIX[:3] * [1e4, 1, 1])
    assert list(tmp_path.iterdir()) == []


def test_golden_rows_that_nobody_reproduces_are_refused(copy: Path) -> None:
    """When neither form gives the golden predictions the bundle is not served."""
    golden = json.loads((copy / "golden.json").read_bytes())
    golden["expected"][3] += 1e-6
    (copy / "golden.json").write_bytes(canonical_json(golden))
    resign(copy)
    with pytest.raises(GateRefusal, match="other predictions for its golden rows"):
        open_bundle(copy, [KEY.public])


def test_a_pipeline_without_a_fast_form_is_refused_or_served_by_scikit_learn(tmp_path: Path) -> None:
    """A setting without an exact form is served by scikit-learn with the reason; a foreign type is not bundled."""
    scaled = fitted(scaler=Pipeline([("s", StandardScaler()), ("nothing", "passthrough")]))
    scaled.named_steps["c"].transformer_weights = {"numbers": 1.0}
    write(tmp_path / "b", scaled)
    bundle = open_bundle(tmp_path / "b", [KEY.public], deep=True)
    assert (bundle.scorer.form, "transformer_weights" in bundle.scorer.reason) == ("sklearn", True)
    with pytest.raises(GateRefusal, match="PowerTransformer"):
        write(tmp_path / "c", fitted(scaler=PowerTransformer()))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param(KNeighborsClassifier(), "KNeighborsClassifier.*ends in one of AdaBoost", id="holds-rows"),
        pytest.param(SVC(probability=True), "sklearn.svm._classes.SVC.*ends in one of AdaBoost", id="another-family"),
        pytest.param(SVC(), "SVC gives no probabilities", id="no-probabilities"),
        pytest.param(RidgeClassifier(), "RidgeClassifier gives no probabilities", id="none-at-all"),
        pytest.param(SGDClassifier(), "SGDClassifier gives no probabilities.*log_loss", id="none-by-its-loss"),
    ],
)
def test_what_no_bundle_can_hold_is_refused_in_words_for_who_trained_it(tmp_path: Path, model: Any, told: str) -> None:
    """The sentence names the estimator and what to train instead, and nothing is called tampered with."""
    with pytest.raises(GateRefusal, match=told) as refused:
        write(tmp_path / "b", fitted(model, contract=CLASSES), CLASSES)
    assert "tampered" not in str(refused.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("model", "contract"),
    [
        pytest.param(GaussianNB(), CLASSES, id="naive-bayes"),
        pytest.param(SGDClassifier(loss="log_loss"), CLASSES, id="gradient-descent"),
        pytest.param(AdaBoostClassifier(n_estimators=5), CLASSES, id="boosted-classes"),
        pytest.param(AdaBoostRegressor(n_estimators=5), CONTRACT, id="boosted-numbers"),
        pytest.param(SGDRegressor(), CONTRACT, id="gradient-descent-of-numbers"),
    ],
)
def test_common_estimators_are_held_and_served_by_scikit_learn(tmp_path: Path, model: Any, contract: Contract) -> None:
    """They have no fast form, and answer what the pipeline answers."""
    pipeline = fitted(model, contract=contract)
    write(tmp_path / "b", pipeline, contract)
    bundle = open_bundle(tmp_path / "b", [KEY.public], deep=True)
    table = contract.frame(MATRIX)
    expected = pipeline.predict_proba(table) if contract is CLASSES else pipeline.predict(table)
    assert bundle.scorer.form == "sklearn"
    np.testing.assert_array_equal(bundle.scorer.score(MATRIX), expected)


def test_rows_the_model_cannot_take_are_told_by_both_forms(tmp_path: Path) -> None:
    """A missing value that nothing fills is bad data, not a crash."""
    write(tmp_path / "b", fitted(Ridge()))
    gap = MATRIX[:2].copy()
    gap[1, 0] = np.nan
    with pytest.raises(DataError, match=r"row 1.*'area'"):
        open_bundle(tmp_path / "b", [KEY.public]).scorer.score(gap)


def test_unusable_inputs_are_told_before_anything_is_written(tmp_path: Path) -> None:
    """Golden rows and provenance are checked, and the directory stays absent."""
    with pytest.raises(UsageError, match="golden rows"):
        write(tmp_path / "b", golden=MATRIX[:0])
    with pytest.raises(UsageError, match="plain JSON"):
        write(tmp_path / "b", provenance={"at": object()})
    assert not (tmp_path / "b").exists()


def test_the_export_is_the_same_pipeline_and_needs_a_trusted_bundle(written: Path, tmp_path: Path) -> None:
    """joblib files leave on request only, and only from a bundle that passed every check."""
    export_joblib(written, tmp_path / "model.joblib", [KEY.public])
    pipeline = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(pipeline.predict(CONTRACT.frame(MATRIX)), fitted().predict(CONTRACT.frame(MATRIX)))
    with pytest.raises(GateRefusal):
        export_joblib(written, tmp_path / "none.joblib", [OTHER.public])
    assert not (tmp_path / "none.joblib").exists()

"""A bundle: the files of one model, from training to every process that answers with it.

    model.skops     the scikit-learn Pipeline from contract columns to predictions
    scoring.npz     its exact fast form, flat arrays; absent when the pipeline has none
    contract.json   columns and target
    profile.json    what the model saw: the reference of drift
    golden.json     rows with the predictions the pipeline gave for them when it was trained
    card.md         for people
    split.json      by which rule it was told on which rows the model learns; absent where nobody said
    judgement.json  by what it was judged, and what it says besides its predictions; absent where nobody said
    manifest.json   digest and size of each file above, library versions, where it all came from
    manifest.sig    signature of manifest.json
    judged/         the bundle that was judged, where this one was fitted again on all rows

The SHA-256 of ``manifest.json`` names the bundle. Nothing in it depends on when or where it was written.
"""

import functools
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from serving.archive import same_arrays
from serving.bundle.files import (
    CARD,
    CONTRACT,
    GOLDEN,
    JUDGED,
    JUDGEMENT,
    MANIFEST,
    MODEL,
    PROFILE,
    SCORING,
    SIGNATURE,
    SPLIT,
)
from serving.bundle.golden import Golden
from serving.bundle.judgement import CalibratedScorer, Judgement
from serving.bundle.model_file import audit, load_model, write_model
from serving.bundle.signing import PublicKey, SigningKey, sign, verify
from serving.contract import Contract, Matrix
from serving.errors import DataError, GateRefusal, UsageError
from serving.files import canonical_json, sha256_bytes, whole_directory, whole_file
from serving.profile import Profile
from serving.scoring.api import Declined, Predictions, SklearnScorer
from serving.scoring.compile import Fast, compile_pipeline, from_bytes, to_bytes

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

BundleId = str  # sha256 hex of manifest.json
Scorer = Fast | SklearnScorer | CalibratedScorer
FORMAT = 1
REQUIRED = frozenset({MODEL, CONTRACT, PROFILE, GOLDEN, CARD})
LIBRARIES = ("numba", "numpy", "scikit-learn", "scipy", "skops")


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed its checks.

    Attributes:
        digest: its name, the SHA-256 hex of the manifest.
        golden: coded matrix of the golden rows.
        expected: what the pipeline predicted for them when it was trained, before any calibration.
        scorer: what answers; its probabilities are calibrated where the judgement has a calibration.
        split: the rule of ``components.data.split_rule`` as JSON; empty where the bundle has none.
    """

    directory: Path
    digest: BundleId
    manifest: Mapping[str, Any]
    contract: Contract
    profile: Profile
    golden: Matrix
    expected: Predictions
    scorer: Scorer
    split: str = ""
    judgement: Judgement = field(default_factory=Judgement)

    @functools.cached_property
    def pipeline(self) -> "Pipeline":
        """The scikit-learn Pipeline, read from disk and checked at its first use, which imports scikit-learn.

        Raises:
            GateRefusal: the file is not the one that was signed any more.
        """
        return load_model(_signed_file(self.directory, MODEL, self.manifest["files"][MODEL]["sha256"]))


def write_bundle(
    directory: Path,
    *,
    pipeline: "Pipeline",
    contract: Contract,
    profile: Profile,
    golden: Matrix,
    card: str,
    provenance: Mapping[str, Any],
    key: SigningKey,
    split: str = "",
    judgement: Judgement | None = None,
) -> BundleId:
    """Write and sign the bundle of a fitted *pipeline*; an existing *directory* is replaced whole.

    Args:
        golden: coded matrix of at least one row whose predictions every later load must reproduce.
        provenance: JSON-able facts such as snapshot, commit, configuration digest and seed; no times, no paths.

    Raises:
        GateRefusal: the pipeline holds a type that no bundle may hold, gives no probabilities for classes, or knows
            other classes than the contract.
        DataError: the pipeline cannot predict a golden row, or not as a finite number.
    """
    if golden.ndim != 2 or not len(golden) or np.isinf(golden).any():
        raise UsageError(f"golden rows: expected at least one row of finite or missing cells, seen {golden.shape}")
    expected = SklearnScorer(pipeline, contract, "written from the pipeline").score(golden)
    if not np.isfinite(expected).all():
        row = int(np.argwhere(~np.isfinite(expected))[0, 0])
        raise DataError(f"the pipeline's prediction for golden row {row} is not a finite number; train another model")
    known = Golden(golden, expected)
    fast = known.agreeing(compile_pipeline(pipeline, contract))
    files = {
        MODEL: write_model(pipeline),
        CONTRACT: contract.model_dump_json().encode(),  # keeps the order of the columns, which canonical_json sorts
        PROFILE: profile.model_dump_json().encode(),
        GOLDEN: known.to_json(),
        CARD: card.encode(),
    }
    if split:
        files[SPLIT] = split.encode()
    if judgement is not None:
        files[JUDGEMENT] = judgement.model_dump_json().encode()
    if not isinstance(fast, Declined):
        files[SCORING] = to_bytes(fast)
    manifest = _manifest(files, fast, provenance)
    with whole_directory(directory) as place:
        for name, data in files.items():
            (place / name).write_bytes(data)
        (place / MANIFEST).write_bytes(manifest)
        (place / SIGNATURE).write_bytes(sign(manifest, key))
    return sha256_bytes(manifest)


def open_bundle(directory: Path, trusted: Sequence[PublicKey], *, deep: bool = False) -> Bundle:
    """Check a bundle and make it ready to score.

    In this order: signature, digests, library versions, types and tree indices of ``model.skops``, indices of
    ``scoring.npz``, golden rows. All of it reads JSON and arrays only; when the golden rows come out right on the fast
    form, scikit-learn is not even imported, which saves a server seconds of start and most of its memory. That the
    fast form and the pipeline are one model rests on the signature, since ``write_bundle`` signs only what agrees.

    Args:
        deep: also construct the pipeline, compile it again, and require the same fast form and golden predictions:
            for the stage that decides whether a bundle may be registered.

    Raises:
        GateRefusal: one sentence for each reason why the bundle must not be served.
    """
    manifest, digest = _signed_manifest(directory, trusted)
    files = _signed_files(directory, manifest)
    _check_libraries(directory, manifest)
    audit(files[MODEL])
    try:
        contract = Contract.model_validate_json(files[CONTRACT])
        profile = Profile.model_validate_json(files[PROFILE])
        golden = Golden.from_json(files[GOLDEN], contract)
        judgement = Judgement.model_validate_json(files.get(JUDGEMENT, b"{}"))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise GateRefusal(f"{directory}: its contract, profile or rows cannot be read: {error}") from error
    scorer = _scorer(directory, files, manifest, contract, golden)
    split = files.get(SPLIT, b"").decode()
    known = (contract, profile, golden.rows, golden.expected, judgement.scorer(scorer), split, judgement)
    bundle = Bundle(directory, digest, manifest, *known)
    if deep:
        _check_deeply(bundle, files)
    return bundle


def export_joblib(directory: Path, path: Path, trusted: Sequence[PublicKey]) -> None:
    """Write the pipeline of a checked bundle as a pickle for runtimes that read nothing else.

    Our own server never reads such a file: whoever can change it can run code in the process that loads it.
    """
    import joblib  # only for this export

    pipeline = open_bundle(directory, trusted, deep=True).pipeline
    with whole_file(path) as temporary:
        joblib.dump(pipeline, temporary)


def _manifest(files: Mapping[str, bytes], fast: Fast | Declined, provenance: Mapping[str, Any]) -> bytes:
    try:
        return canonical_json(
            {
                "format": FORMAT,
                "files": {name: {"sha256": sha256_bytes(data), "bytes": len(data)} for name, data in files.items()},
                "libraries": installed_libraries(),
                "provenance": dict(provenance),
                "scoring": {"form": "sklearn" if isinstance(fast, Declined) else fast.form, "reason": fast.reason},
            }
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"provenance must be plain JSON: {error}") from error


def installed_libraries() -> dict[str, str]:
    """Versions of what a model's numbers depend on, by distribution name, and of Python without its patch."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {**versions, "python": ".".join(platform.python_version_tuple()[:2])}


def _signed_manifest(directory: Path, trusted: Sequence[PublicKey]) -> tuple[dict[str, Any], BundleId]:
    try:
        manifest, envelope = (directory / MANIFEST).read_bytes(), (directory / SIGNATURE).read_bytes()
    except OSError as error:
        raise GateRefusal(
            f"{directory} is not a bundle: {error.filename} cannot be read ({error.strerror}); name a directory with "
            f"{MANIFEST} and {SIGNATURE}"
        ) from error
    verify(manifest, envelope, trusted, str(directory))
    document = json.loads(manifest)
    if document.get("format") != FORMAT:
        raise GateRefusal(f"{directory} has format {document.get('format')!r}, expected {FORMAT}; train a new bundle")
    return dict(document), sha256_bytes(manifest)


def _signed_files(directory: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    listed = manifest["files"]
    twin = {JUDGED} if "judged" in manifest["provenance"] else set()  # signed by itself, and read by nobody here
    present = {path.name for path in directory.iterdir()} - {MANIFEST, SIGNATURE} - twin
    missing = (listed.keys() | REQUIRED) - (present & listed.keys())
    if missing:
        raise GateRefusal(f"{directory}: {min(missing)} is missing; fetch the bundle again")
    extra = present - listed.keys()
    if extra:
        raise GateRefusal(
            f"{directory}: {min(extra)} is not part of the signed bundle; remove it or fetch the bundle again"
        )
    return {name: _signed_file(directory, name, entry["sha256"]) for name, entry in listed.items()}


def _signed_file(directory: Path, name: str, digest: str) -> bytes:
    if name != Path(name).name:
        raise GateRefusal(f"{directory}: the manifest lists {name!r}, which is not a name in the bundle")
    data = (directory / name).read_bytes()
    if sha256_bytes(data) != digest:
        raise GateRefusal(
            f"{directory}: {name} is not the file that was signed (sha256 {sha256_bytes(data)[:12]}, signed "
            f"{digest[:12]}); fetch the bundle again"
        )
    return data


def _check_libraries(directory: Path, manifest: Mapping[str, Any]) -> None:
    trained, here = manifest["libraries"]["scikit-learn"], installed_libraries()["scikit-learn"]
    if trained.split(".")[:2] != here.split(".")[:2]:
        raise GateRefusal(
            f"{directory} was trained with scikit-learn {trained}, this process has {here}: models do not carry over "
            "between minor versions; use the image of that release or train again"
        )


def _scorer(
    directory: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any], contract: Contract, golden: Golden
) -> Fast | SklearnScorer:
    """The fast form if it is there and gives the golden predictions; else scikit-learn, if that does."""
    fast: Fast | Declined = Declined(manifest["scoring"]["reason"])
    if SCORING in files:
        fast = golden.agreeing(from_bytes(files[SCORING], contract))
    if not isinstance(fast, Declined):
        return fast
    scorer = SklearnScorer(load_model(files[MODEL]), contract, f"scikit-learn answers: {fast.reason}")
    golden.check(directory, scorer)
    return scorer


def _check_deeply(bundle: Bundle, files: Mapping[str, bytes]) -> None:
    pipeline = bundle.pipeline
    reason = "loaded to be compared with the golden rows"
    golden = Golden(bundle.golden, bundle.expected)
    golden.check(bundle.directory, SklearnScorer(pipeline, bundle.contract, reason))
    if SCORING not in files:
        return
    fast = compile_pipeline(pipeline, bundle.contract)
    if isinstance(fast, Declined) or not same_arrays(to_bytes(fast), files[SCORING]):
        raise GateRefusal(
            f"{bundle.directory}: {SCORING} is not what {MODEL} compiles to; they are two different models, "
            "train a new bundle"
        )

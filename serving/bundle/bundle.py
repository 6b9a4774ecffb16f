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
from collections.abc import Collection, Mapping, Sequence
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
from serving.bundle.manifest import (
    BundleId,
    check_libraries,
    manifest_of,
    own_code_of,
    signed_file,
    signed_files,
    signed_manifest,
)
from serving.bundle.model_file import audit, load_model, needed_by, write_model
from serving.bundle.own import types_of
from serving.bundle.signing import PublicKey, SigningKey, sign
from serving.contract import Contract, Matrix
from serving.errors import DataError, GateRefusal, UsageError
from serving.files import sha256_bytes, whole_directory, whole_file
from serving.profile import Profile
from serving.scoring.api import Declined, Predictions, SklearnScorer
from serving.scoring.compile import Fast, compile_pipeline, from_bytes, to_bytes

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Scorer = Fast | SklearnScorer | CalibratedScorer


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
        own = frozenset(name for one in own_code_of(self.manifest) for name in one.types)  # compared when it was opened
        return load_model(signed_file(self.directory, MODEL, self.manifest["files"][MODEL]["sha256"]), own)


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
    model = write_model(pipeline)
    if own := needed_by(model):
        fast: Fast | Declined = Declined(f"code of {', '.join(one.package for one in own)} has no fast form")
    else:
        fast = known.agreeing(compile_pipeline(pipeline, contract))
    files = {
        MODEL: model,
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
    manifest = manifest_of(files, fast, provenance, own)
    with whole_directory(directory) as place:
        for name, data in files.items():
            (place / name).write_bytes(data)
        (place / MANIFEST).write_bytes(manifest)
        (place / SIGNATURE).write_bytes(sign(manifest, key))
    return sha256_bytes(manifest)


def open_bundle(
    directory: Path, trusted: Sequence[PublicKey], *, deep: bool = False, packages: Collection[str] | None = None
) -> Bundle:
    """Check a bundle and make it ready to score.

    In this order: signature, digests, library versions, types and tree indices of ``model.skops``, indices of
    ``scoring.npz``, golden rows. All of it reads JSON and arrays only; when the golden rows come out right on the fast
    form, scikit-learn is not even imported, which saves a server seconds of start and most of its memory. That the
    fast form and the pipeline are one model rests on the signature, since ``write_bundle`` signs only what agrees.

    Args:
        deep: also construct the pipeline, compile it again, and require the same fast form and golden predictions:
            for the stage that decides whether a bundle may be registered.
        packages: whose code it may need (``serving.bundle.own``); None: of all that are installed and offer it.

    Raises:
        GateRefusal: one sentence for each reason why the bundle must not be served.
    """
    manifest, digest = signed_manifest(directory, trusted)
    files = signed_files(directory, manifest)
    check_libraries(directory, manifest)
    own = types_of(own_code_of(manifest), packages)
    audit(files[MODEL], own)
    try:
        contract = Contract.model_validate_json(files[CONTRACT])
        profile = Profile.model_validate_json(files[PROFILE])
        golden = Golden.from_json(files[GOLDEN], contract)
        judgement = Judgement.model_validate_json(files.get(JUDGEMENT, b"{}"))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise GateRefusal(f"{directory}: its contract, profile or rows cannot be read: {error}") from error
    scorer = _scorer(directory, files, manifest, contract, golden, own)
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


def _scorer(
    directory: Path,
    files: Mapping[str, bytes],
    manifest: Mapping[str, Any],
    contract: Contract,
    golden: Golden,
    own: frozenset[str],
) -> Fast | SklearnScorer:
    """The fast form if it is there and gives the golden predictions; else scikit-learn, if that does."""
    fast: Fast | Declined = Declined(manifest["scoring"]["reason"])
    if SCORING in files:
        fast = golden.agreeing(from_bytes(files[SCORING], contract))
    if not isinstance(fast, Declined):
        return fast
    scorer = SklearnScorer(load_model(files[MODEL], own), contract, f"scikit-learn answers: {fast.reason}")
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

"""The kinds of files that hold a fitted model, and how each is read."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from components.modelling.given.fitted import Fitted
from components.modelling.given.foreign import LIBRARIES, Foreign, foreign, library_of
from components.modelling.kinds import EXTRAS
from serving.bundle.model_types import TRUSTED
from serving.errors import DataError, PlaceError, UsageError

NOTHING: Mapping[str, str] = MappingProxyType({})
ACCEPTED = (
    ".skops or .joblib (.pkl) of scikit-learn, .json or .ubj of XGBoost, .txt of LightGBM, .cbm of CatBoost, or a "
    "directory of MLflow with one of these"
)
PICKLE = "it was read as a pickle, which ran what it says as it was read"
# What MLflow stores the scikit-learn form of LightGBM's models of; written down here, never taken from a file.
_BOOSTED = frozenset(
    {
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "lightgbm.basic.Booster",
        "collections.OrderedDict",
    }
)
_SUFFIXES: Mapping[str, str] = {
    ".skops": "skops", ".joblib": "pickle", ".pkl": "pickle", ".pickle": "pickle",
    ".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm", ".cbm": "catboost",
}  # fmt: skip
_FLAVORS = ("sklearn", *LIBRARIES)


@dataclass(frozen=True)
class _Kept:
    """A file, and as what it is read."""

    file: Path
    kind: str


def read_model(path: Path, named: Mapping[str, str] = NOTHING) -> Fitted | Foreign:
    """The model in *path*; a pickle runs what it says as it is read.

    Args:
        named: the contract's column for a name that the file has.

    Raises:
        DataError: it is no model of a kind that is read here, or one without an exact form.
        PlaceError: the library that wrote it is not installed.
        UsageError: *named*, of a model whose names are its own affair.
    """
    found, notes = opened(path)
    return model_of(path, found, named, notes)


def opened(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Whatever is in *path*, and what is to be known of how it was read; raises as ``read_model``."""
    kept = _kept(path)
    return _read(kept), (PICKLE,) if kept.kind == "pickle" else ()


def is_model(found: Any) -> bool:
    """Whether ``model_of`` takes it."""
    return library_of(found) in LIBRARIES or isinstance(found, BaseEstimator)


def model_of(path: Path, found: Any, named: Mapping[str, str], notes: tuple[str, ...]) -> Fitted | Foreign:
    """What was *found* in *path*, as ``read_model`` gives it."""
    if library_of(found) in LIBRARIES:
        return foreign(found, named, notes)
    if not is_model(found):
        raise DataError(f"{path}: expected an estimator or Pipeline of scikit-learn, got {type(found).__name__}")
    if named:
        raise UsageError("--column: is for files of trees; a Pipeline of scikit-learn itself says what it takes")
    return Fitted(found if isinstance(found, Pipeline) else Pipeline([("model", found)]), notes)


def _kept(path: Path) -> _Kept:
    """What is to be read where *path* points."""
    if path.is_dir():
        return _of_mlflow(path)
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: no model by its name; expected {ACCEPTED}")
    return _Kept(path, _SUFFIXES[path.suffix])


def _of_mlflow(path: Path) -> _Kept:
    """The file in a directory that MLflow wrote, which its ``MLmodel`` tells of."""
    try:
        flavors = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        flavor = next((name for name in _FLAVORS if name in flavors), None)
        told = flavors[flavor] if flavor else {}
        file = (path / str(told.get("pickled_model") or told.get("data"))).resolve()
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no directory with an MLmodel that can be read ({error}); expected {ACCEPTED}"
        ) from error
    if flavor is None:
        known = ", ".join(_FLAVORS)
        raise DataError(f"{path}: MLflow's flavors here are {', '.join(flavors)}; expected one of {known}")
    if not file.is_relative_to(path.resolve()):
        raise DataError(f"{path}: its MLmodel points out of it, to {file}")
    pickled = "pickle" if flavor == "sklearn" else flavor  # by whatever name
    own = _SUFFIXES.get(file.suffix)
    return _Kept(file, own if own in ("skops", "pickle") else pickled)


def _read(kept: _Kept) -> Any:
    try:
        return _READERS[kept.kind](kept.file)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(str(error.name))
        how = f"install slipway[{extra}]" if extra else "install it here"
        raise PlaceError(f"{kept.file}: {error.name} is not installed here; {how}") from error
    except (DataError, PlaceError):
        raise
    except Exception as error:  # whatever a library raises of a file that is not its own
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{kept.file} cannot be read as a model of {kept.kind} ({reason}); write it with the library of here"
        ) from error


def _of_skops(file: Path) -> Any:
    import skops.io  # only where a file of it is read

    return skops.io.load(file, trusted=sorted(TRUSTED | _BOOSTED))


def _of_pickle(file: Path) -> Any:
    import joblib  # as above

    return joblib.load(file)


def _of_xgboost(file: Path) -> Any:
    return importlib.import_module("xgboost").Booster(model_file=str(file))


def _of_lightgbm(file: Path) -> Any:
    with file.open("rb") as text:
        if text.readline().strip() != b"tree":
            raise DataError(
                f"{file}: no model of LightGBM, whose files begin with the line 'tree'; expected {ACCEPTED}"
            )
    return importlib.import_module("lightgbm").Booster(model_file=str(file), params={"verbose": -1})


def _of_catboost(file: Path) -> Any:
    return importlib.import_module("catboost").CatBoost().load_model(str(file), format="cbm")


_READERS: Mapping[str, Callable[[Path], Any]] = {
    "skops": _of_skops, "pickle": _of_pickle,
    "xgboost": _of_xgboost, "lightgbm": _of_lightgbm, "catboost": _of_catboost,
}  # fmt: skip

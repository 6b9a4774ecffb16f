"""Trees that LightGBM, XGBoost or CatBoost has fitted and kept, as a Pipeline over the contract's slots.

A feature of such a model is the slot of its name; where it knows features by their place only, the slots in the order
of the contract. A category reaches it as its code: its position among the contract's values, or among those that
LightGBM itself has kept of a column of categories; unknown and missing ones reach it as missing.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from components.modelling import encoding
from components.modelling.boosters import catboost_trees, lightgbm_trees, xgboost_trees
from components.modelling.features import step_name
from components.modelling.given.fitted import Ready
from components.modelling.search.rounds import best_of_xgboost
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError
from serving.scoring.api import Predictions, class_order
from serving.scoring.flat import FlatClassifier, FlatRegressor, Planted

Array = npt.NDArray[Any]
LIBRARIES = ("lightgbm", "xgboost", "catboost")


@dataclass(frozen=True)
class Foreign:
    """Trees of another library.

    Attributes:
        names: of its features, in order; empty where it knows them by their place only.
        said: what the library says of features (n_rows, n_features): numbers, or the chances of classes.
        classes: of a classifier, in the order of its outputs; None for numbers.
        words: the values of each column that the library has coded itself, in the order of features.
        named: by which of its names a slot is called otherwise.
        notes: as of ``Ready``.
    """

    names: tuple[str, ...]
    planted: Planted
    said: Callable[[Array], Array]
    classes: Array | None = None
    words: tuple[tuple[str, ...], ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def ready(self, contract: Contract) -> Ready:
        """It as a pipeline over the slots of *contract*, whose categories are known.

        Raises:
            DataError: a feature is no slot, or what it predicts is not what the contract's target is.
        """
        if (self.classes is None) != (contract.task == "regression"):
            kinds = ("numbers", f"{contract.target.name} of {', '.join(contract.target.classes)}")
            seen, wanted = kinds if self.classes is None else ("classes", "numbers")
            raise DataError(f"the model predicts {seen}, and the contract's target is {wanted}; name another target")
        slots = self._slots(contract)
        columns = self._columns(slots, contract)
        made = FlatRegressor.of(self.planted) if self.classes is None else FlatClassifier.of(self.planted, self.classes)
        notes = (*self.notes, *self._told(slots, contract))
        return Ready(Pipeline([("columns", columns), ("model", made)]), self._asked(columns, contract), notes)

    def _asked(self, columns: ColumnTransformer, contract: Contract) -> Callable[[Matrix], Predictions]:
        def said(matrix: Matrix) -> Predictions:
            answer = np.asarray(self.said(np.asarray(columns.transform(contract.frame(matrix)), np.float64)))
            answer = answer.astype(np.float64)
            return answer if self.classes is None else answer[:, class_order(self.classes, contract)]

        return said

    def _slots(self, contract: Contract) -> list[str]:
        """The slot of each feature."""
        slots, named, width = list(contract.slots), self.named, self.planted.n_features
        if not self.names and (width != len(slots) or named):
            raise DataError(
                f"the file has no names for its {width} features, and the contract has {len(slots)} columns "
                f"({', '.join(slots)}): a contract with its columns, in its order, is needed"
            )
        if odd := [name for name in named if name not in self.names]:
            raise DataError(f"--column {odd[0]}: the file knows no such name; expected one of {', '.join(self.names)}")
        found = [named.get(name, name) for name in self.names] or slots
        if absent := [name for name in found if name not in slots]:
            raise DataError(
                f"the contract has no {', '.join(absent[:10])}, of which the model computes; say which column it is by "
                f"--column {absent[0]}=COLUMN, one of {', '.join(slots)}, or add it to the contract"
            )
        if len(set(found)) < len(found):
            twice = next(name for name in found if found.count(name) > 1)
            raise DataError(f"--column: {twice} would be two features of the model; name each once")
        return found

    def _columns(self, slots: Sequence[str], contract: Contract) -> ColumnTransformer:
        """What makes features of the table that scikit-learn sees, in the order of *slots*; there is nothing to fit."""
        words = self._values(slots, contract)
        parts = [
            (
                step_name(name),
                encoding.encoder(words[name], "ordinal", contract.target, 0, native=True)
                if name in words
                else "passthrough",
                [name],
            )
            for name in slots
        ]
        columns = ColumnTransformer(parts, sparse_threshold=0.0, verbose_feature_names_out=False)
        return columns.fit(contract.frame(np.zeros((1, len(contract.slots)))))

    def _values(self, slots: Sequence[str], contract: Contract) -> dict[str, tuple[str, ...]]:
        """The values of each category, in the order of their codes."""
        coded = {name: contract.slots[name].values for name in slots if contract.slots[name].type == "category"}
        if not self.words:
            return coded
        if len(self.words) != len(coded):
            raise DataError(
                f"the file itself codes {len(self.words)} columns of categories, and {len(coded)} of its features are "
                f"such in the contract ({', '.join(coded) or 'none'}): the same have to be categories in both"
            )
        for (name, ours), theirs in zip(coded.items(), self.words, strict=True):
            if not set(ours) & set(theirs):
                raise DataError(
                    f"the file has {', '.join(theirs[:5])} for the column {name}, and the contract "
                    f"{', '.join(ours[:5])}: write its values in the contract as the model was taught them"
                )
        return dict(zip(coded, self.words, strict=True))

    def _told(self, slots: Sequence[str], contract: Contract) -> Iterator[str]:
        how = "by name" if self.names else f"by place, since the file has no names: {', '.join(slots)}"
        yield f"{len(slots)} features met {how}"
        if unused := [name for name in contract.slots if name not in slots]:
            yield f"the model computes with none of {', '.join(unused)}"
        for name, values in self._values(slots, contract).items():
            codes = ", ".join(f"{word} {code}" for code, word in enumerate(values[:3]))
            more = ", ..." if len(values) > 3 else ""
            whose = "the file's" if self.words else "the contract's"
            yield f"{name} by {whose} codes: {codes}{more}, unknown and missing ones as missing"
        if self.classes is not None and list(self.classes) == list(range(len(self.classes))):
            yield f"classes by code: {', '.join(f'{word} {at}' for at, word in enumerate(contract.target.classes))}"


def foreign(model: Any, named: Mapping[str, str], notes: tuple[str, ...] = ()) -> Foreign:
    """What a fitted *model* of one of ``LIBRARIES`` is, in its scikit-learn form or its own; the rest as of a Foreign.

    Raises:
        DataError: it has no exact form.
    """
    library = library_of(model)
    try:
        found = _KINDS[library](model)
    except (ConfigError, KeyError) as error:
        reason = str(error).removeprefix("model.params.").removeprefix("model.params: ")
        raise DataError(f"a model of {library} that has no exact form here: {reason}") from error
    return replace(found, named=named, notes=(*notes, *found.notes))


def library_of(model: Any) -> str:
    return str(type(model).__module__.partition(".")[0])


def _names(names: Sequence[str] | None, usual: str) -> tuple[str, ...]:
    """*names*, unless they are those that the library gives by place."""
    known = tuple(map(str, names or ()))
    return () if known == tuple(f"{usual}{place}" for place in range(len(known))) else known


def _of_lightgbm(model: Any) -> Foreign:
    booster, planted = getattr(model, "booster_", model), lightgbm_trees(model)

    def said(x: Array) -> Array:
        return _both(np.asarray(booster.predict(x, num_threads=1)), planted)

    words = tuple(tuple(map(str, values)) for values in booster.pandas_categorical or ())
    names = _names(booster.feature_name(), "Column_")
    return Foreign(names, planted, said, _classes(model, planted), words)


def _of_xgboost(model: Any) -> Foreign:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if not np.isnan(missing := getattr(model, "missing", np.nan)):
        raise ConfigError(f"missing: {missing:g} is a missing value for it; train it with NaN for these")
    matrix = importlib.import_module("xgboost").DMatrix
    best, notes = best_of_xgboost(booster), tuple[str, ...]()
    if best < booster.num_boosted_rounds():
        booster, notes = booster[:best], (f"its {best} rounds up to the best one",)
    planted = xgboost_trees(booster)

    def said(x: Array) -> Array:
        return _both(booster.predict(matrix(x, nthread=1), validate_features=False), planted)

    names = tuple(booster.feature_names or ())
    return Foreign(names, planted, said, _classes(model, planted), notes=notes)


def _of_catboost(model: Any) -> Foreign:
    planted = catboost_trees(model)
    kinds = {"identity": "RawFormulaVal", "scalar_exponential": "Exponent"}

    def said(x: Array) -> Array:
        return np.asarray(model.predict(x, prediction_type=kinds.get(planted.link, "Probability"), thread_count=1))

    classes = np.asarray(model.classes_) if planted.link not in kinds else None
    return Foreign(_names(model.feature_names_, ""), planted, said, classes)


def _both(answer: Array, planted: Planted) -> Array:
    """The chances of both classes where the library says that of the second."""
    return np.column_stack([1 - answer, answer]) if planted.link.endswith("_logistic") else answer


def _classes(model: Any, planted: Planted) -> Array | None:
    if not planted.link.endswith(("_logistic", "_softmax")):
        return None
    count = 2 if planted.link.endswith("_logistic") else len(planted.forest.base)
    return np.asarray(getattr(model, "classes_", np.arange(count)))


_KINDS: Mapping[str, Callable[[Any], Foreign]] = {
    "lightgbm": _of_lightgbm, "xgboost": _of_xgboost, "catboost": _of_catboost,
}  # fmt: skip

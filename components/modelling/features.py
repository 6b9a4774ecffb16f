"""From contract columns to the numbers of an estimator, as one scikit-learn Pipeline.

The pipeline takes the table of ``Contract.frame`` and predicts, so that what was fitted on training rows (medians,
means, scales) travels with the model and training and serving cannot differ. Only a short list of standard parts is
used, since each has to be stored without pickle and to have an exact fast form:

    derived      ``serving.features.derive.Derive``, where the project has expressions
    numbers      Pipeline of "transform" (FunctionTransformer of numpy.log, log1p or sqrt), "impute" (SimpleImputer),
                 "scale" (StandardScaler, MinMaxScaler, RobustScaler), or "passthrough" when nothing is asked for
    booleans     "impute" with the most frequent value, or "passthrough"
    categories   see ``components.modelling.encoding``
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

from components.modelling import encoding
from components.modelling.encoding import Encoding, Named
from components.modelling.families import NOTHING, ModelSpec, build_estimator
from components.modelling.kinds import family_of
from serving.bundle import own
from serving.contract import Column, Contract, Frozen
from serving.errors import ConfigError
from serving.features.compile import Compiled, compile_columns
from serving.features.derive import Derive

Transform = Literal["log", "sqrt"]
_SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


class FeatureSpec(Frozen):
    """How columns become numbers; what is left out follows the model family.

    Linear families get median, standard scale and one-hot; trees get medians and ordinal codes; families
    of boosting by histograms take missing values as they are.

    Attributes:
        scale: what numbers are brought to: ``standard`` to mean 0 and deviation 1, ``minmax`` to 0..1, ``robust`` to
            median 0 and quartile range 1.
        encode: how categories become numbers, all of them or by column: ``onehot``, ``ordinal``, ``target``,
            ``frequency``.
        impute: what fills a missing number; ``none`` leaves it to a family that takes gaps.
        columns: derived columns, by name an expression over the contract's and over one another; ``docs/features.md``.
        drop: columns that only expressions use, the estimator does not see them; dates and times it never sees.
        transforms: column to ``log`` (log1p when its range starts at 0) or ``sqrt``.
        own: transformers that installed packages offer, by name the columns that each is given; what they make of these
            stands beside the other features; ``docs/features.md``.
    """

    columns: dict[str, str] = Field(default_factory=dict)
    drop: tuple[str, ...] = ()
    scale: Literal["standard", "minmax", "robust", "none"] | None = None
    encode: Named | dict[str, Encoding] | None = None
    impute: Literal["median", "mean", "none"] | None = None
    transforms: dict[str, Transform] = Field(default_factory=dict)
    own: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("encode", mode="before")
    @classmethod
    def _told(cls, value: Any) -> Any:
        return encoding.told(value)

    def resolve(self, family: str) -> "FeatureSpec":
        """The same with every choice that was left open made for *family*."""
        kind = family_of(family)
        return self.model_copy(
            update={
                "scale": self.scale or ("standard" if kind.linear else "none"),
                "impute": self.impute or ("none" if kind.native else "median"),
            }
        )

    def encoding(self, name: str, family: str) -> Encoding:
        """How category *name* becomes numbers for *family*."""
        usual: Encoding = "onehot" if family_of(family).linear else "ordinal"
        if isinstance(self.encode, dict):
            return self.encode.get(name, usual)
        return self.encode or usual


def build_pipeline(
    contract: Contract, features: FeatureSpec, model: ModelSpec, seed: int, params: Mapping[str, Any] = NOTHING
) -> Pipeline:
    """An unfitted Pipeline of ``derived`` if there is any, ``columns`` (one transformer per column, by ``step_name``)
    and ``model``.

    Raises:
        ConfigError: an expression or transform that its columns cannot have, missing values that nothing fills, or a
            parameter that the family does not have.
    """
    chosen, compiled = features.resolve(model.family), check_features(contract, features, model)
    parts = [
        (step_name(name), _step(name, column, chosen, model.family, contract, seed), [name])
        for name, column in _inputs(features, _every(contract, compiled)).items()
    ]
    parts += [(f"own {step_name(name)}", _offered(name), list(given)) for name, given in features.own.items()]
    columns = ColumnTransformer(parts, sparse_threshold=0.0, verbose_feature_names_out=False)
    steps: list[tuple[str, Any]] = [("derived", _derive(contract, compiled))] if features.columns else []
    return Pipeline([*steps, ("columns", columns), ("model", build_estimator(model, contract.task, seed, params))])


def step_name(column: str) -> str:
    """What the transformer of *column* is called: scikit-learn takes no ``__`` in such a name, and none that is a
    parameter of ColumnTransformer; a column of a table may be called either.
    """
    return "column " + column.replace("%", "%25").replace("__", "_%5F")


def derived(contract: Contract, features: FeatureSpec) -> Compiled:
    """The derived columns of a project.

    Raises:
        ConfigError: a mistake in an expression, by its key and place.
    """
    roles = {
        contract.key: "is the key, which a request does not bring",
        contract.event_time: "is the event time, which a request does not bring; add it to contract.columns too, with "
        "type datetime",
        contract.target.name: "is the target, which a request does not bring",
    }
    slots = contract.slots
    absent = {name: reason for name, reason in roles.items() if name is not None and name not in slots}
    for name, column in contract.columns.items():
        if column.type == "text":
            absent[name] = f"is a text, of which a model sees {', '.join(column.slots(name))}"
        elif column.type == "id":
            absent[name] = "is an id, with which a model computes nothing"
    return compile_columns(features.columns, slots, absent)


def inputs(contract: Contract, features: FeatureSpec) -> dict[str, Column]:
    """The columns of which the estimator's features are made, derived ones among them, by name."""
    return _inputs(features, _every(contract, derived(contract, features)))


def _every(contract: Contract, compiled: Compiled) -> dict[str, Column]:
    """The columns of the coded matrix and the derived ones."""
    return {**contract.slots, **{name: operand.column for name, operand in compiled.columns.items()}}


def _inputs(features: FeatureSpec, every: Mapping[str, Column]) -> dict[str, Column]:
    """What the estimator sees, by name; a moment is a count of seconds, which means nothing by itself."""
    return {name: one for name, one in every.items() if one.type != "datetime" and name not in features.drop}


def _derive(contract: Contract, compiled: Compiled) -> Derive:
    every = _every(contract, compiled)
    words = {name: column.values for name, column in every.items() if column.type == "category"}
    return Derive.of(list(contract.slots), words, compiled)


def check_features(contract: Contract, features: FeatureSpec, model: ModelSpec) -> Compiled:
    """The derived columns of features that the *contract*'s columns and the *model*'s family can have.

    Raises:
        ConfigError: they cannot.
    """
    compiled = derived(contract, features)
    known = _every(contract, compiled)
    for name in features.drop:
        if name not in known:
            raise ConfigError(f"features.drop: no column {name!r}; expected one of {', '.join(known)}")
    for name, given in features.own.items():
        _offered(name)
        if odd := [one for one in given if one not in known] or ([] if given else ["nothing"]):
            raise ConfigError(f"features.own.{name}: expected some of {', '.join(known)}; seen {odd[0]}")
    inputs = _inputs(features, known)
    if not inputs:
        raise ConfigError("features: no column is left for the model; derive one in features.columns or drop fewer")
    for name, transform in features.transforms.items():
        _check_transform(contract, name, transform, name in compiled.columns)
    if isinstance(features.encode, dict):
        encoding.check(features.encode, inputs)
    gaps = [name for name, column in inputs.items() if column.nullable and column.type != "category"]
    if features.resolve(model.family).impute == "none" and gaps and not family_of(model.family).missing:
        raise ConfigError(
            f"features.impute is none, but {gaps[0]} is nullable and {model.family} takes no missing values;"
            " expected median or mean"
        )
    return compiled


def _offered(name: str) -> Any:
    """The unfitted transformer that an installed package offers as *name*."""
    offer = own.offer(own.TRANSFORMERS, name)
    if offer is None:
        raise ConfigError(
            f"features.own.{name}: no installed package offers it under the entry point group {own.TRANSFORMERS}; "
            f"expected one of {', '.join(own.offered(own.TRANSFORMERS)) or 'none'}"
        )
    try:
        made = offer.load()()
    except Exception as error:  # whatever another package raises
        raise ConfigError(f"features.own.{name}: {offer.value} cannot be made: {error!r}") from error
    if not (hasattr(made, "fit") and hasattr(made, "transform")):
        raise ConfigError(f"features.own.{name}: expected a transformer of scikit-learn, got {type(made).__name__}")
    return made


def _check_transform(contract: Contract, name: str, transform: str, made: bool) -> None:
    where = f"features.transforms.{name}"
    column = contract.slots.get(name)
    if column is None and made:
        raise ConfigError(
            f"{where}: a derived column has its {transform} in its expression; write {transform}(...) there"
        )
    if column is None:
        raise ConfigError(f"{where}: no such column in the contract; expected one of {', '.join(contract.slots)}")
    if not column.numeric:
        raise ConfigError(f"{where}: {transform} is for numbers, and the column's type is {column.type}")
    if column.range is None or column.range[0] < 0:
        seen = "none" if column.range is None else str(list(column.range))
        raise ConfigError(f"{where}: {transform} needs a 'range' that starts at 0 or above, seen {seen}")
    if column.out_of_range == "flag":
        raise ConfigError(f"{where}: {transform} needs out_of_range refuse or clip, since flagged values reach it")


def _step(name: str, column: Column, features: FeatureSpec, family: str, contract: Contract, seed: int) -> Any:
    if column.type == "category":
        native = family_of(family).native
        return encoding.encoder(column.values, features.encoding(name, family), contract.target, seed, native)
    steps: list[tuple[str, Any]] = []
    if name in features.transforms:
        steps.append(("transform", _transform(column, features.transforms[name])))
    if features.impute != "none":
        # A column that was never seen filled becomes 0 and stays in place, instead of shifting the ones behind it.
        how = "most_frequent" if column.type == "bool" else features.impute
        steps.append(("impute", SimpleImputer(strategy=how, keep_empty_features=True)))
    if column.numeric and features.scale not in (None, "none"):
        steps.append(("scale", _SCALERS[str(features.scale)]()))
    return Pipeline(steps) if steps else "passthrough"


def _transform(column: Column, transform: Transform) -> FunctionTransformer:
    zero = column.range is None or column.range[0] <= 0
    function = np.sqrt if transform == "sqrt" else np.log1p if zero else np.log
    return FunctionTransformer(function, feature_names_out="one-to-one")

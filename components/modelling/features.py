"""From contract columns to the numbers of an estimator, as one scikit-learn Pipeline.

The pipeline takes the table of ``Contract.frame`` and predicts, so that what was fitted on training rows (medians,
means, scales) travels with the model and training and serving cannot differ. Only a short list of standard parts is
used, since each has to be stored without pickle and to have an exact fast form:

    numbers      Pipeline of "transform" (FunctionTransformer of numpy.log, log1p or sqrt), "impute" (SimpleImputer),
                 "scale" (StandardScaler, MinMaxScaler, RobustScaler), or "passthrough" when nothing is asked for
    booleans     "impute" with the most frequent value, or "passthrough"
    categories   OneHotEncoder, where missing and unknown are all zeros; or OrdinalEncoder, where both are NaN for
                 boosting by histograms and -1 elsewhere
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from components.modelling.families import FAMILIES, NOTHING, ModelSpec, build_estimator
from serving.contract import Column, Contract, Frozen
from serving.errors import ConfigError

Transform = Literal["log", "sqrt"]
_SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


class FeatureSpec(Frozen):
    """How columns become numbers; what is left out follows the model family.

    Linear families get median, standard scale and one-hot; trees get medians and ordinal codes; families
    of boosting by histograms take missing values as they are.

    Attributes:
        transforms: column to ``log`` (log1p when its range starts at 0) or ``sqrt``.
    """

    scale: Literal["standard", "minmax", "robust", "none"] | None = None
    encode: Literal["onehot", "ordinal"] | None = None
    impute: Literal["median", "mean", "none"] | None = None
    transforms: dict[str, Transform] = Field(default_factory=dict)

    def resolve(self, family: str) -> "FeatureSpec":
        """The same with every choice that was left open made for *family*."""
        kind = FAMILIES[family]
        return FeatureSpec(
            scale=self.scale or ("standard" if kind.linear else "none"),
            encode=self.encode or ("onehot" if kind.linear else "ordinal"),
            impute=self.impute or ("none" if kind.native else "median"),
            transforms=self.transforms,
        )


def build_pipeline(
    contract: Contract, features: FeatureSpec, model: ModelSpec, seed: int, params: Mapping[str, Any] = NOTHING
) -> Pipeline:
    """An unfitted Pipeline of ``columns`` (one transformer per column, named by it) and ``model``.

    Raises:
        ConfigError: a transform that its column cannot have, missing values that nothing fills, or a parameter that
            the family does not have.
    """
    check_features(contract, features, model)
    chosen = features.resolve(model.family)
    steps = [(name, _step(name, column, chosen, model.family), [name]) for name, column in contract.columns.items()]
    columns = ColumnTransformer(steps, sparse_threshold=0.0, verbose_feature_names_out=False)
    return Pipeline([("columns", columns), ("model", build_estimator(model, contract.task, seed, params))])


def check_features(contract: Contract, features: FeatureSpec, model: ModelSpec) -> None:
    """Refuse features that the *contract*'s columns or the *model*'s family cannot have."""
    for name, transform in features.transforms.items():
        _check_transform(contract, name, transform)
    chosen = features.resolve(model.family)
    gaps = [name for name, column in contract.columns.items() if column.nullable and column.type != "category"]
    if chosen.impute == "none" and gaps and not FAMILIES[model.family].missing:
        raise ConfigError(
            f"features.impute is none, but {gaps[0]} is nullable and {model.family} takes no missing values;"
            " expected median or mean"
        )


def _check_transform(contract: Contract, name: str, transform: str) -> None:
    where = f"features.transforms.{name}"
    column = contract.columns.get(name)
    if column is None:
        raise ConfigError(f"{where}: no such column in the contract; expected one of {', '.join(contract.names)}")
    if not column.numeric:
        raise ConfigError(f"{where}: {transform} is for numbers, and the column's type is {column.type}")
    if column.range is None or column.range[0] < 0:
        seen = "none" if column.range is None else str(list(column.range))
        raise ConfigError(f"{where}: {transform} needs a 'range' that starts at 0 or above, seen {seen}")
    if column.out_of_range == "flag":
        raise ConfigError(f"{where}: {transform} needs out_of_range refuse or clip, since flagged values reach it")


def _step(name: str, column: Column, features: FeatureSpec, family: str) -> Any:
    if column.type == "category":
        return _encoder(column, features, family)
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


def _encoder(column: Column, features: FeatureSpec, family: str) -> Any:
    values = [np.array(column.values, dtype=object)]
    if features.encode == "onehot":
        return OneHotEncoder(categories=values, handle_unknown="ignore", sparse_output=False)
    unknown = np.nan if FAMILIES[family].native else -1
    return OrdinalEncoder(categories=values, handle_unknown="use_encoded_value", unknown_value=unknown)

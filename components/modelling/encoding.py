"""How categories become numbers.

onehot      OneHotEncoder: a column for each value, of which missing and unknown have none
ordinal     OrdinalEncoder: the position of the value; missing and unknown are NaN for hist_gradient_boosting and
            -1 elsewhere
target      TargetEncoder: the mean of the target where the column has the value, drawn towards the mean of all by
            ``smooth`` rows of it (Micci-Barreca 2001); one for each class where there are three or more. A training
            row's own mean comes from four fifths of the rows that it is not in; unknown and missing are the mean
frequency   ``serving.features.frequency.Frequency``: the share of training rows that have the value
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from serving.contract import Column, Frozen, Target
from serving.errors import ConfigError
from serving.features.frequency import Frequency

Named = Literal["onehot", "ordinal", "target", "frequency"]
FOLDS = 5


class Smoothing(Frozen):
    """Options of the target's means.

    Attributes:
        smooth: of how many rows the mean of all counts; auto: by the variances (empirical Bayes).
    """

    smooth: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"


class ByTarget(Frozen):
    """``{target: {smooth: 20}}``.

    Attributes:
        target: the target's mean where the column has the value, with options.
    """

    target: Smoothing


Encoding = Named | ByTarget
KNOWN: tuple[str, ...] = get_args(Named)
WHERE = "features.encode"


def told(value: Any) -> Any:
    """*value* of ``features.encode``, if it can be read.

    Raises:
        ValueError: it cannot; one sentence, where a type checker of unions has one for each of their parts.
    """
    if isinstance(value, Mapping):
        for name, one in value.items():
            if not isinstance(one, ByTarget):
                _check_one(f"{WHERE}.{name}", one)
    elif value is not None:
        _check_one(WHERE, value)
    return value


def _check_one(where: str, value: Any) -> None:
    options = value.get("target") if isinstance(value, Mapping) and set(value) == {"target"} else None
    if isinstance(options, Mapping):
        smooth = options.get("smooth", "auto")
        number = isinstance(smooth, int | float) and not isinstance(smooth, bool) and smooth >= 0
        if set(options) <= {"smooth"} and (number or smooth == "auto"):
            return
        raise ValueError(f"{where}.target: expected smooth: rows, 0 or more, or auto; got {dict(options)}")
    if value not in KNOWN:
        close = difflib.get_close_matches(str(value), KNOWN, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        wanted = f"expected one of {', '.join(KNOWN)}, or {{target: {{smooth: 20}}}}"
        raise ValueError(f"{where}: {wanted}; got {value!r}{hint}")


def encoder(values: Sequence[str], how: Encoding, target: Target, seed: int, native: bool) -> Any:
    """The unfitted transformer of one category of *values*; *native* tells that the model takes NaN."""
    words = [np.array(values, dtype=object)]
    if how == "onehot":
        return OneHotEncoder(categories=words, handle_unknown="ignore", sparse_output=False)
    if how == "ordinal":
        unknown = np.nan if native else -1
        return OrdinalEncoder(categories=words, handle_unknown="use_encoded_value", unknown_value=unknown)
    if how == "frequency":
        return Frequency(list(values))
    smooth = how.target.smooth if isinstance(how, ByTarget) else "auto"
    classes = len(target.classes)
    cut = StratifiedKFold if classes else KFold
    return TargetEncoder(
        categories=words,
        smooth=smooth,
        target_type="continuous" if not classes else "binary" if classes == 2 else "multiclass",
        cv=cut(FOLDS, shuffle=True, random_state=seed),
    )


def check(encodings: Mapping[str, Encoding], inputs: Mapping[str, Column]) -> None:
    """Refuse encodings of what is no category among the estimator's *inputs*."""
    for name in encodings:
        able = [one for one, column in inputs.items() if column.type == "category"]
        if name not in able:
            why = f"its type is {inputs[name].type}" if name in inputs else "no such column reaches the model"
            raise ConfigError(f"features.encode.{name}: {why}; expected a category, one of {', '.join(able) or 'none'}")

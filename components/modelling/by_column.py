"""Parameters that a project writes by column: monotone signs as ``{area: 1}``, categories as ``[kind]``."""

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.pipeline import Pipeline

from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec, inputs, step_name
from components.modelling.kinds import family_of
from serving.contract import Contract
from serving.errors import ConfigError


def check_columns(model: ModelSpec, features: FeatureSpec, contract: Contract) -> None:
    """Refuse signs and categories of columns that the *contract* does not have, or that are of another kind.

    Raises:
        ConfigError: with the parameter and the column.
    """
    family, known = family_of(model.family), inputs(contract, features)
    for name, sign in _mapping(model.params.get(family.signs)).items():
        column = known.get(name)
        if column is None or column.type == "category":
            raise ConfigError(
                f"model.params.{family.signs}.{name}: expected a column of numbers, one of "
                + ", ".join(one for one, other in known.items() if other.type != "category")
            )
        if sign not in (-1, 0, 1):
            raise ConfigError(f"model.params.{family.signs}.{name}: expected 1, -1 or 0, seen {sign!r}")
    named = [name for name in _list(model.params.get(family.sets)) if isinstance(name, str)]
    able = categories(model.family, features, contract)
    for name in named:
        if name not in able:
            raise ConfigError(
                f"model.params.{family.sets}: expected categories that features.encode brings as ordinal codes, of "
                f"{', '.join(able)}; seen {name!r}"
            )


def categories(family: str, features: FeatureSpec, contract: Contract) -> list[str]:
    """The columns that *family* sees as codes of categories."""
    known = inputs(contract, features).items()
    return [name for name, one in known if one.type == "category" and features.encoding(name, family) == "ordinal"]


def placed(family: str, params: Mapping[str, Any], head: Pipeline) -> dict[str, Any]:
    """Those of *params* that are written by column, as its library takes them: by position among the features that
    the fitted *head* of a pipeline makes.

    Raises:
        ConfigError: a column whose feature no estimator sees.
    """
    kind, done = family_of(family), dict[str, Any]()
    signs, chosen = params.get(kind.signs), _list(params.get(kind.sets))
    if isinstance(signs, Mapping):
        at = {_place(name, head, kind.signs): int(sign) for name, sign in signs.items()}
        width = max(part.stop for part in head["columns"].output_indices_.values())
        done[kind.signs] = [at.get(place, 0) for place in range(width)]
        if family == "xgboost":
            done[kind.signs] = tuple(done[kind.signs])
    if any(isinstance(name, str) for name in chosen):
        done[kind.sets] = sorted(one if isinstance(one, int) else _place(one, head, kind.sets) for one in chosen)
    return done


def _place(name: str, head: Pipeline, key: str) -> int:
    """Where the one feature of column *name* is; by its transformer, since names of features may coincide."""
    part = head["columns"].output_indices_.get(step_name(name))
    if part is None or part.stop - part.start != 1:
        raise ConfigError(f"model.params.{key}: {name} is no feature of the model")
    return int(part.start)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()

"""Whether a model can be fitted, asked before there are rows: what is accepted here must not fail in training."""

import warnings

import numpy as np
from sklearn.pipeline import Pipeline

from components.data.tables import Vector
from components.modelling.by_column import check_columns
from components.modelling.families import ModelSpec, Weights, check_task, check_values
from components.modelling.features import FeatureSpec, check_features
from components.modelling.kinds import check_offer, family_of
from components.modelling.recipes import AUTO
from components.modelling.targets import check_target
from components.modelling.training import fit, predict
from serving.bundle.model_file import write_model
from serving.contract import Column, Contract, Matrix
from serving.errors import ConfigError, DataError, GateRefusal
from serving.scoring.bends import BENDS

ROWS = 64  # of a trial: enough for every class, too few to take time
FEW_ROUNDS = 2
# Numbers that count rows of the real table, of which a trial has few.
_COUNTS = frozenset({"max_samples"})


_WORDS = dict.fromkeys(("a", "b", "c"), 1 << 20)  # of a category that learns its values from rows


def check_model(model: ModelSpec, features: FeatureSpec, contract: Contract) -> None:
    """Refuse a *model* that cannot be fitted to rows of the *contract*; one after another, each rests on the last.

    Raises:
        ConfigError: with the key, and what its library says.
    """
    check_offer(model.family)
    if model.family == AUTO:  # each family that it tries is checked by its trial
        check_target(model, contract)
        return
    check_task(model, contract.task)
    check_values(model.family, model.params, where="model.params", task=contract.task)
    check_features(contract, features, model)
    check_columns(model, features, contract)
    check_target(model, contract)
    check_fit(model, features, contract)


def check_fit(model: ModelSpec, features: FeatureSpec, contract: Contract) -> None:
    """Fit *model*, with few trees, to made rows of the *contract*: what does not go together is refused in its words.

    Raises:
        ConfigError: two parameters that rule each other out, or a value that this library finds only in a fit.
    """
    family = family_of(model.family)
    params = {name: value for name, value in model.params.items() if name not in _COUNTS or isinstance(value, float)}
    params.update(
        {name: FEW_ROUNDS for name in (family.rounds, "n_estimators") if name in family.choices(contract.task)}
    )
    spec = model.model_copy(update={"params": params, "smearing": False})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, on noise
            closed = contract.learned(dict.fromkeys(contract.columns, _WORDS))
            rows = made_rows(model, closed)
            weights = np.ones(len(rows[1])) if model.weights != Weights() else None
            fitted = fit(*rows, closed, features, spec, 0, weights=weights)
            if family.own or features.own:
                _check_answers(fitted, closed, rows[0], "model.family" if family.own else "features.own")
                write_model(fitted)
    except ConfigError as error:
        raise ConfigError(str(error).replace("model: ", "model.params: ", 1)) from error
    except GateRefusal as error:
        raise ConfigError(f"{'model.family' if family.own else 'features.own'}: {error}") from error
    except DataError:
        return  # of the made rows


def _check_answers(fitted: Pipeline, contract: Contract, matrix: Matrix, where: str) -> None:
    """Refuse what answers nothing of use even of the rows that it was fitted to; *where* is the key to tell."""
    classes, kind = contract.target.classes, "numbers"
    try:
        said = predict(fitted, contract, matrix)
        good = said.shape == (len(matrix), *([len(classes)] if classes else [])) and bool(np.isfinite(said).all())
        if classes:
            kind = "probabilities that add up to 1, in the order of ascending classes_"
            good = good and said.min() >= 0 and np.allclose(said.sum(axis=1), 1)
            good = good and list(fitted.classes_) == list(range(len(classes)))
    except Exception as error:  # whatever another package raises
        raise ConfigError(f"{where}: the fitted model cannot predict the rows of its fit: {error!r}") from error
    if not good:
        raise ConfigError(
            f"{where}: of {len(matrix)} rows expected as many {kind}, each of them finite; the fitted model answers "
            f"{said.ravel()[:3].tolist()} and so on, of shape {said.shape}"
        )


def made_rows(model: ModelSpec, contract: Contract) -> tuple[Matrix, Vector]:
    """A coded matrix and a target as the *contract* describes them, the same at each call."""
    random = np.random.default_rng(0)
    rows = max(ROWS, 4 * len(contract.target.classes))
    matrix = np.column_stack([_made(column, random, rows) for column in contract.slots.values()])
    if contract.target.classes:
        return matrix, (np.arange(rows) % len(contract.target.classes)).astype(np.float64)
    low, high = contract.target.range or (max(BENDS[model.target].above, 0.0) + 1.0, 100.0)
    return matrix, random.uniform(low, high, rows)


def _made(column: Column, random: np.random.Generator, rows: int) -> Vector:
    if column.type == "bool":
        return random.integers(0, 2, rows).astype(np.float64)
    if column.type == "category":
        return random.integers(0, max(len(column.values), 1), rows).astype(np.float64)
    if column.type == "datetime":
        return random.uniform(1.6e9, 1.7e9, rows)
    values = random.uniform(*(column.range or (1.0, 2.0)), rows)
    return np.floor(values) if column.type == "int" else values

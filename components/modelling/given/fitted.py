"""A model that was fitted elsewhere, made ready for a bundle, and a pipeline of scikit-learn as one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from components.modelling.boosters import flattened
from serving.contract import Contract, Matrix
from serving.errors import ConfigError, DataError
from serving.scoring.api import Predictions, SklearnScorer

ULPS = 16  # of CatBoost's exponential, which is its own; its sums are equal to the last bit


@dataclass(frozen=True)
class Ready:
    """A model as a bundle can hold it.

    Attributes:
        said: what the library that fitted it says of a coded matrix, as ``SklearnScorer.score`` gives it.
        notes: what it was taken for, one phrase each.
        name, settings: what a card calls it, and its parameters; by default the name of its last step.
    """

    pipeline: Pipeline
    said: Callable[[Matrix], Predictions]
    notes: tuple[str, ...] = ()
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def check(self, matrix: Matrix, contract: Contract) -> None:
        """Have both say what they make of *matrix*.

        Raises:
            DataError: they differ.
        """
        ours, theirs = SklearnScorer(self.pipeline, contract, "fitted elsewhere").score(matrix), self.said(matrix)
        model = self.pipeline.steps[-1][1]
        off = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).reshape(len(matrix), -1)
        if _rounded(model):
            off &= (np.abs(ours - theirs) > ULPS * np.spacing(np.abs(theirs))).reshape(len(matrix), -1)
        if off.any():
            row = int(np.argwhere(off)[0, 0])
            raise DataError(
                f"the model has no exact form: its library says {theirs[row]} of a row of which its trees here say "
                f"{ours[row]} ({int(off.any(axis=1).sum())} of {len(matrix)} rows differ); nothing was made"
            )


def _rounded(model: Any) -> bool:
    """Whether *model* has trees of CatBoost, whose exponential is a few units in the last place off any other."""
    return bool(getattr(model, "narrow_", False)) and model.link_ in ("scalar_exponential", "scalar_softmax")


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline of scikit-learn; *notes* as of ``Ready``."""

    pipeline: Pipeline
    notes: tuple[str, ...] = ()

    def ready(self, contract: Contract) -> Ready:
        """It as a bundle of *contract* holds it, trees of other libraries as arrays.

        Raises:
            DataError: it takes other columns than the contract has, or trees of it have no exact form.
        """
        _check_columns(self.pipeline, contract)
        _check_classes(self.pipeline, contract)
        scorer = SklearnScorer(self.pipeline, contract, "fitted elsewhere")
        name, last = self.pipeline.steps[-1]
        try:
            flat = flattened(last)
        except ConfigError as error:
            raise DataError(f"its last step has no exact form here: {error}") from error
        pipeline = self.pipeline if flat is last else Pipeline([*self.pipeline.steps[:-1], (name, flat)])
        return Ready(pipeline, scorer.score, self.notes)


def _check_columns(pipeline: Pipeline, contract: Contract) -> None:
    """A model that was fitted on arrays takes columns by their place; one that knows names must know these."""
    names = [str(name) for name in np.asarray(getattr(pipeline, "feature_names_in_", tuple(contract.slots)))]
    count = int(getattr(pipeline, "n_features_in_", len(contract.slots)))
    if set(names) != set(contract.slots) or count != len(contract.slots):
        odd = sorted(set(names) ^ set(contract.slots)) or [f"{count} columns"]
        raise DataError(
            f"the model was fitted on {count} columns, the contract has {len(contract.slots)}; they differ in "
            f"{', '.join(odd[:10])}: name the columns of the contract as the model does"
        )
    if names != list(contract.slots):
        raise DataError(
            f"the model wants its columns in another order: put those of the contract as {', '.join(names)}"
        )


def _check_classes(pipeline: Pipeline, contract: Contract) -> None:
    """0 and 1 of our own models are positions in the contract; of another's they are what it was taught."""
    taught = [str(one) for one in np.asarray(getattr(pipeline, "classes_", ()))]
    places = [str(place) for place in range(len(taught))]
    if taught == places and set(contract.target.classes) == set(places) and list(contract.target.classes) != places:
        raise DataError(f"write the classes of the contract in the order {', '.join(places)}, as the model knows them")

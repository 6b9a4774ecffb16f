"""A model of several members: which families with which parameters, fitted side by side, and how much each counts."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from sklearn.pipeline import Pipeline

from components.data.tables import Vector
from components.modelling.by_column import categories
from components.modelling.families import NOTHING, ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.kinds import FAMILIES
from components.modelling.recipes import AUTO
from components.modelling.training import fit
from serving.contract import Contract, Frozen, Matrix
from serving.scoring.around import BlendClassifier, BlendRegressor


class Member(Frozen):
    """One recipe.

    Attributes:
        native: categories go to the family as sets of codes, where it takes those.
        weight: its share of the answer; those of a mixture add up to 1.
        seeds: it is fitted so many times with other seeds, which share its weight: less of its answer is chance.
    """

    family: str
    params: dict[str, Any] = Field(default_factory=dict)
    target: Literal["none", "log", "log1p", "sqrt", "yeo-johnson"] = "none"
    smearing: bool = False
    native: bool = False
    weight: float = 1.0
    seeds: int = 1

    @property
    def words(self) -> str:
        """``lightgbm of log (62 %)``."""
        bent = "" if self.target == "none" else f" of {self.target}"
        return f"{self.family}{bent} ({self.weight:.0%})"

    def spec(self, project: ModelSpec, features: FeatureSpec, contract: Contract) -> ModelSpec:
        """The same as a model of *project*, whose unit, exposure and weights it keeps."""
        params = dict(self.params)
        if self.native and (names := categories(self.family, features, contract)):
            params[FAMILIES[self.family].sets] = names
        told = {"family": self.family, "params": params, "target": self.target, "smearing": self.smearing}
        return project.model_copy(update=told)


class Mixture(Frozen):
    """What a search over families comes to; ``params`` of the step that trains."""

    members: tuple[Member, ...] = Field(min_length=1)


def fit_recipe(
    matrix: Matrix,
    target: Vector,
    contract: Contract,
    features: FeatureSpec,
    model: ModelSpec,
    seed: int,
    params: Mapping[str, Any] = NOTHING,
    weights: Vector | None = None,
) -> Pipeline:
    """As ``training.fit``, of one family or, where the *model* is left open, of the mixture in *params*."""
    if model.family != AUTO:
        return fit(matrix, target, contract, features, model, seed, params, weights)
    parts = list(_parts(Mixture.model_validate(params)))
    fitted = [
        fit(matrix, target, contract, features, one.spec(model, features, contract), seed + number, NOTHING, weights)
        for one, number, _ in parts
    ]
    if len(fitted) == 1:
        return fitted[0]
    blend = BlendClassifier if contract.task == "classification" else BlendRegressor
    return Pipeline([("model", blend(fitted, [share for _, _, share in parts]))])


def _parts(mixture: Mixture) -> Iterator[tuple[Member, int, float]]:
    """Each fit: its member, what is added to the seed, and its share."""
    for member in mixture.members:
        for number in range(member.seeds):
            yield member, number, member.weight / member.seeds


def named(model: ModelSpec, params: Mapping[str, Any]) -> str:
    """What a model is called: its family, or the members of what a search over families came to."""
    if model.family != AUTO:
        return model.family
    return ", ".join(one.words for one in Mixture.model_validate(params).members)


def settings(model: ModelSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters for a card, those of a mixture by the member's place."""
    if model.family != AUTO:
        return {**model.params, **params}
    members = Mixture.model_validate(params).members
    return {f"{number}.{name}": value for number, one in enumerate(members, 1) for name, value in one.params.items()}

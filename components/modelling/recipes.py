"""A recipe as a step receives it, and the pipeline that it makes of a snapshot's rows.

What only a fit needs is imported there: a step that serves what was judged pays for none of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.bundle.own import makers
from serving.files import canonical_json, read_json, sha256_bytes

if TYPE_CHECKING:
    import polars as pl
    from sklearn.pipeline import Pipeline

    from components.data.tables import Vector
    from components.modelling.families import ModelSpec
    from components.modelling.features import FeatureSpec
    from serving.contract import Contract, Matrix

AUTO = "auto"  # no family: a search over all that are installed


@dataclass(frozen=True)
class Recipe:
    """What a model is made of, as the doorway receives it: sections of the project as JSON, the contract as a file."""

    model: str
    features: str
    contract: str
    seed: int
    params: str
    says: str
    provenance: Mapping[str, Any]

    @property
    def refits(self) -> bool:
        """Whether what is served is fitted on all rows: where it is asked for, or the family was left open."""
        asked = json.loads(self.model)
        return asked.get("refit") == "all" or (asked.get("refit") is None and asked["family"] == AUTO)

    @cached_property
    def spec(self) -> "ModelSpec":
        from components.modelling.families import ModelSpec

        return ModelSpec.model_validate_json(self.model)

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """What the search came to."""
        found: dict[str, Any] = json.loads(self.params)
        return found

    @property
    def name(self) -> str:
        from components.modelling.mixtures import named

        return named(self.spec, self.chosen)

    @property
    def settings(self) -> dict[str, Any]:
        from components.modelling.mixtures import settings

        return settings(self.spec, self.chosen)

    def facts(self, rows: int) -> dict[str, Any]:
        """What a bundle says of where it came from, for a model of so many rows."""
        contract = read_json(Path(self.contract))
        made_of = [*map(json.loads, (self.model, self.features, self.says)), contract, self.chosen]
        configuration = sha256_bytes(canonical_json(made_of))
        facts = {**self.provenance, "configuration": configuration, "seed": self.seed, "rows": rows}
        made_by = [one.model_dump(exclude={"types"}) for one in makers(self.columns.own, self.spec.family)]
        return {**facts, **({"made_by": made_by} if made_by else {})}

    @cached_property
    def columns(self) -> "FeatureSpec":
        from components.modelling.features import FeatureSpec

        return FeatureSpec.model_validate_json(self.features)

    def material(self, rows: "pl.DataFrame") -> "Material":
        """What it is fitted on, of *rows* as a snapshot holds them."""
        from components.data.tables import learned_contract, matrix_and_target
        from components.modelling.targets import row_weights
        from serving.contract import Contract

        rules = learned_contract(rows, Contract.read(Path(self.contract)))
        return Material(self, rules, *matrix_and_target(rows, rules), row_weights(self.spec, rows, rules))


@dataclass(frozen=True)
class Material:
    """Rows for a recipe.

    Attributes:
        contract: with what the rows taught it.
        matrix, target: coded, (n_rows, n_slots) and (n_rows,).
        weights: of each row; None: all alike.
    """

    recipe: Recipe
    contract: "Contract"
    matrix: "Matrix"
    target: "Vector"
    weights: "Vector | None"

    def fitted(self, some: Any = slice(None)) -> "Pipeline":
        """The pipeline of all rows, or of *some*, by position."""
        from components.modelling.mixtures import fit_recipe

        own, weights = self.recipe, None if self.weights is None else self.weights[some]
        rows = (self.matrix[some], self.target[some])
        return fit_recipe(*rows, self.contract, own.columns, own.spec, own.seed, own.chosen, weights)

"""A recipe as a step receives it, and the pipeline that it makes of a snapshot's rows.

What only a fit needs is imported there: a step that serves what was judged pays for none of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.files import canonical_json, read_json, sha256_bytes

if TYPE_CHECKING:
    import polars as pl
    from sklearn.pipeline import Pipeline

    from components.data.tables import Vector
    from components.modelling.families import ModelSpec
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
        made_of = [json.loads(self.model), json.loads(self.features), contract, self.chosen]
        configuration = sha256_bytes(canonical_json(made_of))
        return {**self.provenance, "configuration": configuration, "seed": self.seed, "rows": rows}

    def fitted(self, rows: "pl.DataFrame") -> tuple["Pipeline", "Contract", "Matrix", "Vector"]:
        """The pipeline of *rows*, as a snapshot holds them, the contract with what they taught it, and what was
        fitted on: coded matrix and target.
        """
        from components.data.tables import learned_contract, matrix_and_target
        from components.modelling.features import FeatureSpec
        from components.modelling.mixtures import fit_recipe
        from components.modelling.targets import row_weights
        from serving.contract import Contract

        rules = learned_contract(rows, Contract.read(Path(self.contract)))
        matrix, target = matrix_and_target(rows, rules)
        weights, features = row_weights(self.spec, rows, rules), FeatureSpec.model_validate_json(self.features)
        pipeline = fit_recipe(matrix, target, rules, features, self.spec, self.seed, self.chosen, weights)
        return pipeline, rules, matrix, target

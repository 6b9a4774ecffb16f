"""Logged rows counted into the bins of a profile, a part of the log after the other."""

from collections import Counter

import numpy as np
import polars as pl

from components.data.tables import recoded
from components.data.words import counted
from components.modelling import profiles
from components.watching.drift import Drift, compare
from components.watching.figures import scores, usable
from components.watching.policy import DriftPolicy
from serving.contract import Contract
from serving.profile import Profile


class LoggedCounts:
    """What was logged so far, of which nothing is kept but counts in the bins of the reference *profile*."""

    def __init__(self, profile: Profile, contract: Contract) -> None:
        self._reference, self._contract = profile, contract
        self._seen = profiles.count(np.empty((0, len(contract.slots))), profile, contract, np.empty(0))
        self._outside, self._logged, self._predicted = Counter[str](), set[str](), True

    def add(self, rows: pl.DataFrame) -> None:
        """Take *rows* as ``prediction_log.parts`` gives them; a column that they do not log is missing in all."""
        logged = [field.name for field in getattr(rows.schema.get("features"), "fields", ())]
        names = [name for name in self._contract.slots if name in logged]
        prediction, possible = scores(usable(rows, self._contract), self._contract)
        # The profile's prediction is of probabilities; where a part has none, they are nowhere compared.
        self._predicted &= self._contract.task == "regression" or "log_loss" in possible or not len(prediction)
        features = pl.col("features").struct
        matrix = recoded(rows, self._contract, lambda name: features.field(name) if name in names else pl.lit(None))
        self._seen += profiles.count(matrix, self._reference, self._contract, prediction)
        flagged = rows.select(pl.col("flagged").list.unique().explode().drop_nulls())["flagged"]
        self._outside.update(counted(flagged))
        self._logged.update(names)

    def drift(self, policy: DriftPolicy) -> Drift:
        """What was counted, compared with the profile; unknown categories are counted by their code."""
        columns = self._contract.slots
        outside = {
            name: rows for name, rows in self._outside.items() if name in columns and columns[name].type != "category"
        }
        silent = [name for name in columns if name not in self._logged]
        seen = self._seen if self._predicted else self._seen.without_prediction
        return compare(self._reference, seen, policy, out_of_range=outside, not_logged=silent)

"""Moments, open categories, texts and ids in a prediction log: read again as the coded matrix that was scored."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from components.data.tables import recoded
from components.modelling import profiles
from components.watching import prediction_log
from components.watching.counts import LoggedCounts
from components.watching.policy import DriftPolicy
from serving.predictor.log import AnsweredRequest, Lines
from serving.predictor.rows.v1 import Decoder
from tests.serving.predictor.test_types import ROW, TRIPS


def test_a_log_is_read_again_to_the_last_bit(tmp_path: Path) -> None:
    """Watching counts what was scored; moments, new every day, are no drift by themselves."""
    rows = [{**ROW, "zone": zone, "note": note} for zone, note in (("a", "x y"), ("q", None), (None, "z"))]
    found = Decoder(TRIPS, 9).decode(json.dumps({"instances": rows}).encode())
    answered = AnsweredRequest("r", 1e9, found.matrix, [1.0, 2.0, 3.0], None, (), 0.0, ids=found.ids)
    (tmp_path / "predictions-1.jsonl").write_bytes(Lines(TRIPS, "m", "1", ()).of(answered))
    profile = profiles.profile(found.matrix, TRIPS, np.array([1.0, 2.0, 3.0]))
    (part,) = prediction_log.parts(tmp_path, TRIPS)
    logged = pl.col("features").struct
    assert np.array_equal(recoded(part, TRIPS, lambda name: logged.field(name)), found.matrix, equal_nan=True)
    counts = LoggedCounts(profile, TRIPS)
    counts.add(part)
    assert counts.drift(DriftPolicy()).drifted == ()

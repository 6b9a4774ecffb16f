"""Refitting: what is served has seen all rows, what was judged had not, and later candidates meet the latter."""

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.data import snapshots
from components.data.split import SplitPolicy
from components.data.split_rule import SplitRule
from components.data.tables import matrix_and_target
from components.judging import champions
from components.judging.answers import scored
from components.judging.comparison import compare
from components.modelling import again, refitting
from components.modelling.recipes import Recipe
from components.modelling.stages import train
from components.steps.keys import trusted_keys
from serving.bundle.bundle import Bundle, open_bundle
from serving.bundle.files import JUDGED, MANIFEST, SPLIT
from serving.contract import Contract
from serving.errors import GateRefusal

CONTRACT = Contract.model_validate(
    {"columns": {"area": {"type": "float"}}, "target": {"name": "price"}, "event_time": "sold"}
)
CUT = datetime(2026, 3, 1)
MODEL: dict[str, Any] = {"family": "hist_gradient_boosting", "params": {"max_iter": 20}, "refit": "all"}


def table(n: int = 300) -> pl.DataFrame:
    """Prices that rise by a half after the cut."""
    random = np.random.default_rng(8)
    sold = [datetime(2026, 1, 1) + timedelta(hours=7 * hour) for hour in range(n)]
    area = random.uniform(20, 200, n)
    price = area * 1000 * np.where([moment >= CUT for moment in sold], 1.5, 1.0)
    return pl.DataFrame({"area": area, "sold": sold, "price": price})


class Folder:
    """Of the artifacts of a run up to the gate."""

    def __init__(self, path: Path, model: dict[str, Any]) -> None:
        rows = table()
        self.key, self.train, self.holdout = str(path / "keys"), path / "train", path / "holdout"
        self.judged, self.served = path / "judged", path / "served"
        snapshots.write(rows.filter(pl.col("sold") < CUT), self.train, source="t")
        snapshots.write(rows.filter(pl.col("sold") >= CUT), self.holdout, source="t")
        rule = SplitRule(policy=SplitPolicy(by="time"), seed=0, boundary=CUT - timedelta(seconds=1))
        (self.train / SPLIT).write_text(rule.model_dump_json())
        (path / "contract.json").write_text(CONTRACT.model_dump_json())
        self.recipe = Recipe(json.dumps(model), "{}", str(path / "contract.json"), 1, "{}", "{}", {"snapshot": "s"})
        train(self.recipe, self.key, str(self.train), str(self.holdout), str(self.judged))

    def refit(self) -> Bundle:
        paths = (self.judged, self.train, self.holdout, self.served)
        digest = refitting.refit(self.recipe, self.key, *map(str, paths))
        bundle = open_bundle(self.served, trusted_keys(self.key), deep=True)
        assert bundle.digest == digest
        return bundle


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, MODEL)


def test_the_newest_rows_reach_what_is_served(folder: Folder) -> None:
    """Prices have risen since the cut: the judged model is far too low there, the served one is between."""
    twin, served = open_bundle(folder.judged, trusted_keys(folder.key)), folder.refit()
    matrix, target = matrix_and_target(snapshots.read(folder.holdout), CONTRACT)
    off = [np.abs(one.scorer.score(matrix) - target).mean() for one in (served, twin)]
    assert off[0] < 0.8 * off[1]


def test_the_bundle_says_which_rows_its_model_saw_and_whose_figures_it_has(folder: Folder) -> None:
    """Rows, twin and figures stand in the signed manifest, the profile and the card."""
    twin, served = open_bundle(folder.judged, trusted_keys(folder.key)), folder.refit()
    told = served.manifest["provenance"]
    assert (told["refit"], told["rows"], told["judged"]) == ("all", 300, twin.digest)
    assert told["judged_rows"] == twin.manifest["provenance"]["rows"] < 300
    assert served.profile.metrics == twin.profile.metrics
    assert served.profile.rows == 300
    card = (folder.served / "card.md").read_text()
    assert f"It has seen all rows. The same recipe fitted on {told['judged_rows']} of them" in card
    assert "it had not seen" in (folder.judged / "card.md").read_text()


def test_a_later_candidate_meets_the_twin(folder: Folder) -> None:
    """Asked itself, the served model would know the held-out rows by heart; it does not even say which it knows."""
    served, rows = folder.refit(), snapshots.read(folder.holdout)
    place = type("Here", (), {"key": folder.key})()
    twin = champions.judged(served, place)
    candidate = open_bundle(folder.judged, trusted_keys(folder.key))
    judged = scored(candidate, rows, ())
    asked = compare(rows, judged, candidate, twin, ())
    assert asked.champion is not None
    assert asked.champion.metrics == judged.metrics
    assert compare(rows, judged, candidate, served, ()).champion is None


def test_a_twin_that_is_another_or_gone_is_refused(folder: Folder) -> None:
    """The digest of the judged one is part of what is signed."""
    served = folder.refit()
    place = type("Here", (), {"key": folder.key})()
    other = replace(folder.recipe, seed=2)
    train(other, folder.key, str(folder.train), str(folder.holdout), str(folder.judged))
    shutil.rmtree(folder.served / JUDGED)
    shutil.copytree(folder.judged, folder.served / JUDGED)
    with pytest.raises(GateRefusal, match="was judged; fetch it again"):
        champions.judged(served, place)
    shutil.rmtree(folder.served / JUDGED)
    with pytest.raises(GateRefusal):
        champions.judged(served, place)


def test_without_refit_what_was_judged_is_served(tmp_path: Path) -> None:
    """The same bundle, byte for byte, and its own champion."""
    folder = Folder(tmp_path, {**MODEL, "refit": "none"})
    served = folder.refit()
    assert (folder.served / MANIFEST).read_bytes() == (folder.judged / MANIFEST).read_bytes()
    assert champions.judged(served, type("Here", (), {"key": folder.key})()) is served


def test_two_refits_are_one_bundle(folder: Folder) -> None:
    """Equal rows and recipe, equal digest, so a run again registers nothing new."""
    first = folder.refit().digest
    shutil.rmtree(folder.served)
    assert folder.refit().digest == first


def test_a_model_of_all_rows_that_is_worse_on_those_it_has_seen_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then something went wrong, and the judged figures say nothing about it."""
    monkeypatch.setattr(again, "predict", lambda pipeline, rules, matrix: np.full(len(matrix), 1e9))
    with pytest.raises(GateRefusal, match=r"the model of all rows has RMSE .* expected it to be no worse"):
        folder.refit()


def test_a_family_left_open_is_fitted_again_unless_it_is_said_not_to_be() -> None:
    """The default of the search over families; a family that is named keeps today's behaviour."""
    refits = {(family, refit): Recipe(json.dumps({"family": family, "refit": refit}), "", "", 0, "{}", "{}", {}).refits
              for family in ("auto", "ridge") for refit in (None, "all", "none")}  # fmt: skip
    assert {pair for pair, done in refits.items() if done} == {("auto", None), ("auto", "all"), ("ridge", "all")}

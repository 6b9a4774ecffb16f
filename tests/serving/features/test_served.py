"""From a project file to an answer: what derived columns bring, and that a request computes what training computed."""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from components.judging import metrics
from components.modelling.families import ModelSpec
from components.modelling.features import FeatureSpec
from components.modelling.profiles import profile
from components.modelling.training import fit, predict
from components.projects.project import from_text, parse
from serving.bundle.bundle import Bundle, open_bundle, write_bundle
from serving.bundle.signing import SigningKey
from serving.contract import Contract, Matrix
from serving.errors import ConfigError
from serving.scoring.compile import compile_pipeline
from tests.serving.predictor.support import HOUSE, ask, front, random_rows

PROJECT: dict[str, Any] = {
    "name": "homes",
    "source": {"uri": "homes.csv"},
    "contract": HOUSE.model_dump(mode="json", exclude_defaults=True),
    "split": {"by": "random", "holdout": 0.2},
    "model": {"family": "hist_gradient_boosting", "params": {"max_iter": 20}},
    "features": {
        "columns": {
            "room_size": "area_m2 / (rooms - 1)",
            "log_area": "log(area_m2)",
            "wave": "sin(distance) * exp(-age / 50)",
            "good_house": 'kind == "house" and condition == "good"',
            "pair": "cross(kind, bin(age, [10, 50]))",
            "guess": "fill(age, 40) ** 1.5 + garden",
        },
        "drop": ["distance"],
        "encode": {"pair": "target", "condition": "frequency"},
    },
}


def rows(records: list[dict[str, Any]]) -> Matrix:
    return HOUSE.encode({name: [row[name] for row in records] for name in HOUSE.names})


def bundle(folder: Path) -> Bundle:
    """The bundle of the project above, opened as a server and as a gate open it."""
    project = parse(PROJECT)
    matrix = rows(random_rows(HOUSE, 600, 1))
    target = 1000 * matrix[:, 0] / matrix[:, 6] + 50 * matrix[:, 3]
    pipeline = fit(matrix, target, project.contract, project.features, project.model, seed=0)
    key = SigningKey.generate()
    write_bundle(
        folder / "bundle",
        pipeline=pipeline,
        contract=project.contract,
        profile=profile(matrix, project.contract, predict(pipeline, project.contract, matrix), target),
        golden=matrix[:50],
        card="",
        provenance={},
        key=key,
    )
    return open_bundle(folder / "bundle", [key.public], deep=True)


def test_a_request_of_raw_columns_is_answered_with_the_bits_of_training(tmp_path: Path) -> None:
    """V1 records, alone and together; rooms of 1 make a ratio infinite, and a missing age others missing."""
    model = bundle(tmp_path)
    assert model.scorer.form == "trees"
    records = random_rows(HOUSE, 40, 9)
    records[0]["rooms"] = 1
    expected = predict(model.pipeline, model.contract, rows(records)).tolist()
    app = front(model.contract, model.scorer)
    for some in ([one] for one in range(20)), (range(40),):
        for wanted in some:
            body = json.dumps({"instances": [records[place] for place in wanted]}).encode()
            status, _, answer = asyncio.run(ask(app, body))
            assert status == 200
            assert answer["predictions"] == [expected[place] for place in wanted]


def test_explanations_and_the_profile_are_of_the_columns_of_the_contract(tmp_path: Path) -> None:
    """What a caller brings is what is explained, watched for drift and told in the contract."""
    model = bundle(tmp_path)
    app = front(model.contract, model.scorer)
    body = json.dumps({"instances": random_rows(HOUSE, 1, 9)}).encode()
    status, _, answer = asyncio.run(ask(app, body, "/v1/models/housing:explain"))
    assert status == 200
    assert list(answer["explanations"][0]["contributions"]) == list(HOUSE.names)
    assert answer["explanations"][0]["contributions"]["distance"] != 0, "it is dropped, but an expression uses it"
    assert list(model.profile.inputs) == list(HOUSE.names)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"columns": {"a": "roms", "b": "kind + 1"}}, ["columns.a: no column 'roms'", "features.columns.b: exp"]),
        ({"encode": {"kind": "onehott"}}, ["features.encode.kind: expected one of onehot", "did you mean 'onehot'?"]),
        ({"encode": {"kind": {"target": {"smooth": -1}}}}, ["features.encode.kind.target: expected smooth"]),
        ({"encode": "target", "drop": ["roms"]}, ["features.drop: no column 'roms'"]),
    ],
)  # fmt: skip
def test_a_project_is_refused_with_all_its_mistakes(features: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as told:
        parse({**PROJECT, "features": features})
    assert all(word in str(told.value) for word in words)


def test_a_mistake_in_a_file_has_its_line() -> None:
    text = json.dumps({**PROJECT, "features": {}})[1:-1].replace('"features": {},', "").replace(', "features": {}', "")
    lines = ["{", text, ', "features": {"columns": {', '"a": "rooms",', '"b": "roms"', "}}}"]
    with pytest.raises(ConfigError, match=r"project:5: features\.columns\.b: no column 'roms'"):
        from_text("\n".join(lines))


HOUR = 3600.0


def rentals(count: int) -> tuple[Matrix, np.ndarray]:
    """Two years of rentals: by Berlin's clocks commuters on weekdays and others at weekends, warmth, growth."""
    start = datetime(2023, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    moments = start + HOUR * np.arange(count)
    clocks = [datetime.fromtimestamp(moment, ZoneInfo("Europe/Berlin")) for moment in moments]
    hour = np.array([clock.hour for clock in clocks])
    weekend = np.array([clock.weekday() >= 5 for clock in clocks])
    day = np.array([clock.timetuple().tm_yday for clock in clocks])
    draw = np.random.default_rng(0)
    warm = 12 - 10 * np.cos(2 * np.pi * day / 365) + draw.normal(0, 3, count)
    commute = np.exp(-((hour - 8) ** 2) / 3) + 1.2 * np.exp(-((hour - 17.5) ** 2) / 5)
    leisure = np.exp(-((hour - 14) ** 2) / 18)
    mean = (20 + 300 * np.where(weekend, leisure, commute)) * (0.6 + warm / 30) * (1 + np.arange(count) / count)
    return np.column_stack([moments, warm]), draw.poisson(np.maximum(mean, 1)).astype(float)


def test_rentals_by_the_hour_need_the_hour() -> None:
    """The newest fifth is forecast with an R2 above 0.9; without date parts there is nothing to forecast from."""
    rules = Contract.model_validate(
        {
            "target": {"name": "rentals"},
            "columns": {"at": {"type": "datetime", "zone": "Europe/Berlin"}, "celsius": {"type": "float"}},
        }
    )
    columns = {
        "hour": "hour(at)",
        "weekday": "weekday(at)",
        "weekend": "weekday(at) >= 5",
        "month": "month(at)",
        "days": 'days_since(at, "2023-01-01")',
    }
    matrix, target = rentals(17_000)
    old = slice(0, 13_600)

    def r2(features: FeatureSpec) -> float:
        model = ModelSpec(family="hist_gradient_boosting", params={"max_iter": 150})
        pipeline = fit(matrix[old], target[old], rules, features, model, seed=0)
        return metrics.compute("regression", target[13_600:], predict(pipeline, rules, matrix[13_600:]))["r2"]

    assert r2(FeatureSpec(columns=columns)) > 0.9
    assert r2(FeatureSpec()) < 0.3


def test_a_request_brings_a_moment_and_never_its_hour(tmp_path: Path) -> None:
    """However its text is written, and in the night when the clocks go back: as in the table it was trained on."""
    rules = Contract.model_validate(
        {
            "target": {"name": "rentals"},
            "event_time": "at",
            "columns": {"at": {"type": "datetime", "zone": "Europe/Berlin"}, "celsius": {"type": "float"}},
        }
    )
    matrix, target = rentals(2_000)
    features = FeatureSpec(columns={"hour": "hour(at)", "weekend": "weekday(at) >= 5"})
    pipeline = fit(matrix, target, rules, features, ModelSpec(family="hist_gradient_boosting"), seed=0)
    fast = compile_pipeline(pipeline, rules)
    texts = ["2023-10-29T02:30:00+02:00", "2023-10-29T02:30:00+01:00", "2023-10-29 03:30", "2023-10-29T02:30:00Z"]
    seconds = [1698539400.0, 1698543000.0, 1698546600.0, 1698546600.0]
    rows = np.column_stack([seconds, np.full(4, 11.5)])
    body = json.dumps({"instances": [{"at": text, "celsius": 11.5} for text in texts]}).encode()
    status, _, answer = asyncio.run(ask(front(rules, fast), body))
    assert status == 200
    assert answer["predictions"] == predict(pipeline, rules, rows).tolist()
    assert answer["predictions"][0] == answer["predictions"][1], "it is half past two twice in this night"

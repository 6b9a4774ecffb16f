"""Every number and length of time of a project file: what it may be, and that nothing else is taken."""

import copy
import math
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from components.judging.metrics import METRICS
from components.projects import project as projects
from components.watching.values import SERVICE_FIGURES
from serving.errors import ConfigError
from tests.pipelines.here.support import CONTRACT

FILE: dict[str, Any] = {
    "name": "homes",
    "problem": {"success": {"metric": "rmse", "at_most": 5}},
    "source": {"uri": "sales.csv"},
    "contract": {
        **CONTRACT,
        "columns": {
            **CONTRACT["columns"],
            "rooms": {"type": "int", "range": [1, 20]},
            "street": {"type": "category", "min_count": 10, "max_values": 255},
            "note": {"type": "text", "features": ["length", {"hash": 16}]},
        },
    },
    "features": {"encode": {"street": {"target": {"smooth": 20}}}},
    "split": {"by": "time", "holdout": "30d"},
    "interval": 0.9,
    "model": {"family": "ridge", "params": {"alpha": 1.0}, "weights": {"half_life": "30d"}},
    "search": {"space": {"alpha": {"log": [0.1, 10]}}},
    "gates": [
        {"metric": "rmse", "at_most": 200_000},
        {"metric": "r2", "at_least": 0.1},
        {"metric": "bias", "against": "champion", "margin": 0.0},
        {"metric": "mae", "slice": "region", "worst": 5, "min_rows": 9},
        {"metric": "rmse", "against": "champion", "tolerance": "1%", "confidence": 0.9},
        {"metric": "r2", "suspicious": 0.999},
        {"metric": "rmse", "unseen": 100},
    ],
    "rollout": {"steps": [{"shadow": 100, "until": 9, "dwell": "1m"}, {"weight": 5}], "gates": {}},
}
NEVER = (math.nan, math.inf, -math.inf, 10**400, "five", "5 moons", "-5d", [[1]], {"odd": 1}, True)

COUNT = ([1, 10**9], [0, -1, 1.5, 10**9 + 1, "9"])
SHARE = ([0, 0.5, 1], [-0.1, 1.1, "0.5"])
CHANCE = ([1e-9, 0.4], [0, 1e-300, 1, -0.1, 1e308, "0.4"])
RATIO = ([1, 1_000], [0.9, 0, -1, 1e308, "2"])
PART = ([0.001, 1_000], [0, -1, 1e-300, 1e308, "1"])
LENGTH = ([0, "0s", "1.5h", "200ms", "36500d"], [5, -1, "36501d", "99999999999999d", "5", "5mo", "1e3d", ""])
SPAN = (LENGTH[0][2:], [*LENGTH[1], 0, "0s", "0d", "0.0000001s"])
LEVEL = ([0, 5.5, 1e300], [-1, -1e308, "5"])
PAIR = ([[1, 1], [-5, 5.5]], [[5, 1], [1], [1, 2, 3], ["1", "2"], [0, math.nan], 5])

R2 = {"metric": "r2"}
GATES = ("error", "slow", "output", "quality")
TIMES = ("dwell", "bake", "metrics", "pause", "drain")

# The key as the model knows it -> the key in FILE, what it takes, what it refuses.
KEYS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "seed": ("seed", [0, 2**32 - 1], [-1, 2**32, 1.5, "5"]),
    "problem.success.at_most": ("problem.success.at_most", *LEVEL),
    "problem.success.at_least": ("problem.success", [R2 | {"at_least": 1}], [R2 | {"at_least": 2}]),
    "contract.columns.*.range": ("contract.columns.rooms.range", PAIR[0], [*PAIR[1], [0.2, 0.8]]),
    "contract.columns.*.min_count": ("contract.columns.street.min_count", [1, 10**6], [0, -1, 1.5, "9"]),
    "contract.columns.*.max_values": ("contract.columns.street.max_values", [1, 65_535], [0, -1, 65_536, 1.5, "9"]),
    "contract.columns.*.features.*": ("contract.columns.note.features[1].hash", [1, 4_096], [0, -1, 4_097, 1.5, "9"]),
    "features.encode.*.target.smooth": ("features.encode.street.target.smooth", ["auto", 0, 5.5], [-1, "5"]),
    "contract.newest": ("contract.newest", [0.001, 1], [0, *SHARE[1]]),
    "contract.target.range": ("contract.target.range", *PAIR),
    "contract.refuse_above": ("contract.refuse_above", *SHARE),
    "contract.max_age_days": ("contract.max_age_days", [None, 0.5, 36_500], [0, -1, 36_501, 1e308, "5d"]),
    "split.holdout": ("split.holdout", [0.2, "0.2", "60d", "2 months"], [0, 1, -0.2, "0d", "0 months", "9999 months"]),
    "search.trials": ("search.trials", [1, 10_000], [0, -1, 10_001, 1.5, "9"]),
    "search.timeout": ("search.timeout", *SPAN),
    "gates.at_most": ("gates[0].at_most", *LEVEL),
    "gates.at_least": ("gates[1].at_least", [1, 0, -5], [1.1, 2, "1"]),
    "gates.margin": ("gates[2].margin", [0, 5.5, "2%", "99.9%"], [-1, "100%", "-2%", "2"]),
    "gates.worst": ("gates[3].worst", *LEVEL),
    "gates.min_rows": ("gates[3].min_rows", *COUNT),
    "evaluation.folds": ("evaluation.folds", [0, 5, 20], [-1, 1.5, 21, "5"]),
    "evaluation.repeats": ("evaluation.repeats", [1], [0, -1, 1.5, 21, "5"]),
    "model.weights.half_life": ("model.weights.half_life", SPAN[0], SPAN[1]),
    "interval": ("interval", [None, 0.5, 0.9, 0.99], [0, 0.49, 0.995, 1, -0.1, "0.9"]),
    **{f"threshold.{key}": (f"threshold.{key}", [], [0, 1, -0.1, 1.1, "0.5"]) for key in ("precision", "at")},
    **{f"threshold.cost.{key}": (f"threshold.cost.{key}", [], [0, -1, 1e9, "5"]) for key in ("miss", "false_alarm")},
    "costs.*.*": ("costs.new.old", [], [-1, 1e9, "5"]),
    "gates.tolerance": ("gates[4].tolerance", [0, 5.5, "1%", "99%"], [-1, "100%", "-2%", "2"]),
    "gates.confidence": ("gates[4].confidence", [0.5, 0.95], [0, 0.4, 1, 1.1, "0.9"]),
    "gates.suspicious": ("gates[5].suspicious", [0.9, 1], [1.1, "0.9"]),
    "gates.unseen": ("gates[6].unseen", *COUNT),
    "guards.leak": ("guards.leak", [None, "off", 0.9, 1], [0, 1.1, -1, "0.9"]),
    "guards.unseen": ("guards.unseen", ["off", *COUNT[0]], COUNT[1]),
    "rollout.steps.weight": ("rollout.steps[1].weight", [0.1, 10], [0, -1, 0.01, 96, 101, "5"]),
    "rollout.steps.shadow": ("rollout.steps[0].shadow", [100], [0, 50, 101, "100"]),
    "rollout.steps.until": ("rollout.steps[0].until", *COUNT),
    "rollout.steps.dwell": ("rollout.steps[0].dwell", *LENGTH),
    "rollout.gates.error.slo": ("rollout.gates.error.slo", *CHANCE),
    "rollout.gates.slow.slo": ("rollout.gates.slow.slo", *SPAN),
    "rollout.gates.quality.label_delay": ("rollout.gates.quality.label_delay", *LENGTH),
    **{f"rollout.gates.{key}.ratio": (f"rollout.gates.{key}.ratio", *RATIO) for key in GATES},
    **{f"rollout.gates.{key}.share": (f"rollout.gates.{key}.share", *PART) for key in GATES if key != "output"},
    **{f"rollout.risk.{key}": (f"rollout.risk.{key}", *CHANCE) for key in ("alpha", "beta", "rho")},
    "rollout.risk.max_canary_errors": ("rollout.risk.max_canary_errors", *COUNT),
    "rollout.risk.max_initial_weight": ("rollout.risk.max_initial_weight", [5, 100], [0, 4.9, 101, "5"]),
    "rollout.risk.min_excess": ("rollout.risk.min_excess", [0, 0.5], [1, -0.1, "0"]),
    **{f"rollout.time.{key}": (f"rollout.time.{key}", *SPAN) for key in ("ready", "step", "converge", "unattended")},
    **{f"rollout.time.{key}": (f"rollout.time.{key}", *LENGTH) for key in TIMES},
    "rollout.watch.window": ("rollout.watch.window", *LENGTH),
    "rollout.replicas": ("rollout.replicas", [1, 1_000], [0, -1, 1_001, 1.5, "1"]),
    "watch.labels.delay": ("watch.labels.delay", *LENGTH),
    "watch.labels.at_least": ("watch.labels.at_least", [2, 10**9], [1, *COUNT[1]]),
    "watch.window": ("watch.window", *SPAN),
    "watch.alarm.*.above": ("watch.alarm.mae.above", [0, 5.5, "1x", "1.25x"], [-1, "0.9x", "5", "x", f"{'9' * 400}x"]),
    "watch.alarm.*.below": ("watch.alarm.r2.below", [1, -5, "0x", "1x"], [1.1, "1.1x", "-1x", "1"]),
    "watch.drift.alpha": ("watch.drift.alpha", *CHANCE),
    **{f"watch.drift.{key}": (f"watch.drift.{key}", *SHARE) for key in ("ks", "cramers_v", "missing")},
    "watch.drift.rows": ("watch.drift.rows", *COUNT),
    "retrain.cooldown": ("retrain.cooldown", *LENGTH),
    "retrain.fresh_labels": ("retrain.fresh_labels", [0, 10**9], [-1, 10**9 + 1, 1.5, "5"]),
    "retrain.window": ("retrain.window", [None, *SPAN[0]], SPAN[1]),
}  # fmt: skip


def numbers(kind: Any, key: str = "") -> Iterator[str]:
    """The keys below the model or type *kind* that hold a number or a length of time; ``*`` is any name."""
    if kind in (int, float, timedelta):
        yield key
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from numbers(field.annotation, f"{key}.{name}".removeprefix("."))
    else:
        for part in get_args(kind):
            yield from numbers(part, f"{key}.*" if getattr(kind, "__origin__", None) is dict else key)


def test_every_number_has_its_range() -> None:
    """A key that is added to the file is added to the table: nobody else would try zero, NaN and a text at it."""
    assert set(numbers(projects.Project)) == set(KEYS)


def told(folder: Path, key: str, value: Any) -> str:
    """What loading FILE with *value* at *key* says; empty when it is taken."""
    whole = copy.deepcopy(FILE)
    *way, last = re.findall(r"\w+", key)
    place: Any = whole
    for word in way:
        place = place[int(word)] if isinstance(place, list) else place.setdefault(word, {})
    place[int(last) if isinstance(place, list) else last] = value
    path = folder / "project.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    try:
        projects.load(path)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("named", KEYS)
def test_a_number_is_of_its_range_or_refused_by_key_and_line(tmp_path: Path, named: str) -> None:
    """Zero, negative, endless, huge, a text, a list, another unit: nothing is taken that a later step would refuse."""
    key, takes, refuses = KEYS[named]
    for value in takes:
        assert told(tmp_path, key, value) == "", (key, value)
    sections = [key[: dot.start()] for dot in re.finditer(r"[.\[]", key)]  # which may say how two keys go together
    for value in (*refuses, *NEVER):
        seen = told(tmp_path, key, value)
        told_at = rf"project\.yaml:\d+: ({re.escape(key)}\b|({'|'.join(map(re.escape, sections)) or key}): )"
        assert re.search(told_at, seen), (key, value, seen)


FIGURES = {name: metric.values for name, metric in METRICS.items() if metric.task == "regression"} | {
    name: figure.values for name, figure in SERVICE_FIGURES.items()
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_bar_can_be_passed_and_kept(tmp_path: Path, name: str) -> None:
    """An alarm that no value rings is silent for ever, and one that every value rings never stops."""
    low, high = FIGURES[name]
    maximize = name in METRICS and METRICS[name].direction == "maximize"
    side = "below" if maximize else "above"
    edges = [level for level in (low, high) if math.isfinite(level)]
    for level in {-7.5, 0, 0.5, 7.5, *edges, *(edge - 0.1 for edge in edges), *(edge + 0.1 for edge in edges)}:
        rings = low < level <= high if maximize else low <= level < high
        seen = told(tmp_path, f"watch.alarm.{name}.{side}", level)
        assert seen == "" if rings else f": watch.alarm.{name}.{side}: expected a level that some" in seen, (
            level,
            seen,
        )


@pytest.mark.parametrize(
    ("name", "bar", "floor"),
    [
        ("accuracy", {"below": 1.7}, {"at_least": 2}),
        ("roc_auc", {"below": 0}, {"at_least": 1.1}),
        ("f1", {"below": "0x"}, {"at_least": -1}),
        ("log_loss", {"above": 40}, {"at_most": 40}),
    ],
)
def test_a_bar_on_classes_is_within_the_metric(
    tmp_path: Path, name: str, bar: dict[str, Any], floor: dict[str, Any]
) -> None:
    """Shares end at 0 and 1, and a probability is never quite 0."""
    classes = {**FILE, "contract": {**CONTRACT, "target": {"name": "kind", "classes": ["a", "b"]}}, "search": {}}
    rest = {"model": {"family": "decision_tree"}, "problem": {}, "gates": [{"metric": name} | floor]}
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump(classes | rest | {"watch": {"alarm": {name: bar}}}))
    with pytest.raises(ConfigError) as refused:
        projects.load(path)
    for key in (f"watch.alarm.{name}.{next(iter(bar))}: expected a level", "gates[0].at_"):
        assert re.search(rf"yaml:\d+: {re.escape(key)}", str(refused.value))


@pytest.mark.parametrize(("key", "value"), [("retrain.window", "90d"), ("contract.max_age_days", 30)])
def test_what_is_counted_from_the_moment_of_a_row_needs_one(tmp_path: Path, key: str, value: Any) -> None:
    """Without an event time the first run of the loop would end there, hours later."""
    timeless = {**FILE["contract"], "event_time": None} | ({"max_age_days": value} if "contract" in key else {})
    whole = {**FILE, "contract": timeless, "split": {}} | ({} if "contract" in key else {"retrain": {"window": value}})
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(ConfigError, match=rf"yaml:\d+: {key}: needs contract.event_time"):
        projects.load(path)


def test_a_length_of_time_survives_being_written(tmp_path: Path) -> None:
    """A run gets its window as text, in which no digit may be lost."""
    from serving.durations import parse, text

    for length in ("1234567s", "1234567m", "0.000001s", "1.5d", "200ms", "36500d", "0s"):
        assert parse(text(parse(length))) == parse(length)
    path = tmp_path / "project.yaml"
    path.write_text(f"seed: {'9' * 5_000}\n")
    with pytest.raises(ConfigError, match="seed: expected a finite number"):
        projects.load(path)

"""When the loop trains, and the schedule it follows."""

import fcntl
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from components.judging.champions import Champion
from components.steps.place import Place
from components.watching import cron, prediction_log
from components.watching.drift import ColumnDrift, Drift
from components.watching.policy import Retrain, Watch
from components.watching.values import Figure, WatchReport
from pipelines import settings as settings_module
from pipelines.cli.main import slipway
from pipelines.here.runner import RunResult, TaskResult
from pipelines.here.training import RunFailed, TrainingResult
from pipelines.loop import turn as loop_run
from pipelines.loop import watch as watch_run
from pipelines.loop.decide import LoopState, decide
from serving.bundle.judgement import Judgement
from serving.errors import ConfigError
from serving.files import write_json
from serving.local.counting import rotate
from serving.local.paths import service_directory, service_paths
from tests.components.watching.support import CONTRACT, PROJECT, played, served
from tests.root import HOUSING

NOW = datetime(2026, 6, 3, 9, tzinfo=UTC)
DAY = timedelta(days=1)
MONTHLY = "0 3 1 * *"


def seen(verdict: str = "healthy") -> WatchReport:
    figures = (Figure(name="rmse", value=70.0, level=52.0, standing="beyond"),) if verdict == "degraded" else ()
    column = ColumnDrift(
        column="rate", statistic="ks", rows=900, effect=0.6, p_value=0.0, psi=1.0, moved=verdict == "drifted"
    )
    drift = Drift(rows=900, enough=True, columns=(column,))
    return WatchReport(
        model="m", version="1", as_of="", verdict=verdict, sentence=f"m 1 is {verdict}", figures=figures, drift=drift
    )  # type: ignore[arg-type]  # the verdict is one of the four


BEFORE = LoopState(last_run=NOW - 30 * DAY, last_training_event=NOW - 40 * DAY)
ALL = Retrain.model_validate(
    {"on": ["performance", "drift", "schedule", "data"], "schedule": "0 3 1 1 *", "cooldown": "7d", "fresh_labels": 500}
)


@pytest.mark.parametrize(
    ("changes", "run", "trigger", "said"),
    [
        pytest.param({}, False, None, "no reason to train: m 1 is healthy", id="healthy"),
        pytest.param({"watch": seen("unknown")}, False, None, "unknown", id="unknown-is-no-reason"),
        pytest.param({"watch": None}, False, None, "nothing was watched", id="nobody-looked"),
        pytest.param(
            {"watch": seen("degraded")}, True, "performance", "600 fresh labels; the last run was 30 days", id="bad"
        ),
        pytest.param({"watch": seen("drifted")}, True, "drift", "rate (KS 0.60)", id="drifted"),
        pytest.param({"watch": seen("degraded"), "on": ["drift"]}, False, None, "degraded", id="not-asked-to-act"),
        pytest.param(
            {"watch": seen("degraded"), "fresh": 499}, False, "performance", "499 of 500", id="too-few-fresh-labels"
        ),
        pytest.param(
            {"watch": seen("degraded"), "state": BEFORE.model_copy(update={"running": True})},
            False, "performance", "under way", id="one-at-a-time",
        ),
        pytest.param(
            {"watch": seen("degraded"), "state": BEFORE.model_copy(update={"last_run": NOW - 6 * DAY})},
            False, "performance", "waits until 2026-06-04 09:00, 7d after", id="cooldown",
        ),
        pytest.param(
            {"watch": seen("degraded"), "state": BEFORE.model_copy(update={"last_run": NOW - 7 * DAY})},
            True, "performance", "7 days ago", id="cooldown-just-over",
        ),
        pytest.param({"watch": seen("degraded"), "state": LoopState()}, True, "performance", "no run before", id="1st"),
        pytest.param({"schedule": MONTHLY}, True, "schedule", "was due at 2026-06-01 03:00", id="schedule"),
        pytest.param(
            {"schedule": MONTHLY, "state": BEFORE.model_copy(update={"last_run": NOW - DAY})},
            False, None, "no reason", id="schedule-kept-by-the-last-run",
        ),
        pytest.param({"schedule": MONTHLY, "state": LoopState()}, False, None, "no reason", id="schedule-needs-start"),
        pytest.param({"newest": NOW - 1 * DAY, "fresh": 0}, True, "data", "rows until 2026-06-02", id="new-data"),
        pytest.param({"newest": NOW - 40 * DAY}, False, None, "no reason", id="no-newer-row"),
        pytest.param(
            {"watch": seen("degraded"), "fresh": 0, "newest": NOW}, True, "data", "data: rows until",
            id="new-data-does-not-wait-for-labels",
        ),
    ],
)  # fmt: skip
def test_the_decision_and_its_reason(changes: dict[str, Any], run: bool, trigger: str | None, said: str) -> None:
    """Alarm, schedule and data start a run; cooldown, another run and too few labels hold it back, and say so."""
    asked: dict[str, Any] = {"watch": seen(), "state": BEFORE, "fresh": 600, "newest": None} | changes
    update: dict[str, Any] = {key: asked[key] for key in ("on", "schedule") if key in asked}
    policy = ALL.model_copy(update={**update, "on": tuple(asked.get("on", ALL.on))})
    decision = decide(policy, asked["watch"], asked["state"], asked["fresh"], asked["newest"], NOW)
    assert (decision.run, decision.trigger) == (run, trigger)
    assert said in decision.why


@given(
    st.sampled_from(["healthy", "degraded", "drifted", "unknown"]),
    st.integers(-5, 60),
    st.booleans(),
    st.integers(0, 1000),
    st.sets(st.sampled_from(["performance", "drift", "schedule", "data"])),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_no_run_ever_breaks_the_rules(verdict: str, days: int, running: bool, fresh: int, on: set[str]) -> None:
    """Whatever is seen, a run never starts beside another, inside the cooldown, or for a trigger that was not asked."""
    policy = ALL.model_copy(update={"on": tuple(sorted(on))})
    state = LoopState(last_run=NOW - days * DAY, last_training_event=NOW - 90 * DAY, running=running)
    decision = decide(policy, seen(verdict), state, fresh, NOW, NOW)
    assume(decision.run)  # hypothesis fails where nothing is left
    assert not running
    assert days >= 7
    assert decision.trigger in on
    assert decision.trigger not in ("performance", "drift") or fresh >= 500


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "59", "*/15", "5-20/5", "1,31,45", "30"]),
    st.sampled_from(["*", "0", "3", "23", "*/6", "8-18", "9-17/4"]),
    st.sampled_from(["*", "1", "31", "29", "*/10", "1,15", "28-31"]),
    st.sampled_from(["*", "2", "12", "jan", "feb-apr", "*/3", "6,7"]),
    st.sampled_from(["*", "0", "7", "mon", "1-5", "fri-sun", "sat,sun", "2/2"]),
)


@lru_cache
def expand(word: str, low: int, high: int, names: str) -> frozenset[int]:
    """A second, plain reading of one field: by trying every value against every item."""
    listed = names.split()
    words = {name: position + low for position, name in enumerate(listed)}
    found: set[int] = set()
    for item in word.split(","):
        span, _, step = item.partition("/")
        if span == "*":
            first, last = low, high
        else:
            ends = [words[end] if end in words else int(end) for end in span.split("-")]
            first, last = ends[0], ends[-1] if len(ends) == 2 else (high if step else ends[0])
        if last < first:
            last += 7  # fri-sun
        found |= {value for value in range(first, last + 1) if (value - first) % int(step or 1) == 0}
    return frozenset(found)


def brute(words: tuple[str, ...], moment: datetime) -> bool:
    minute, hour, day, month, weekday = words
    months = "jan feb mar apr may jun jul aug sep oct nov dec"
    days = "sun mon tue wed thu fri sat"
    if moment.minute not in expand(minute, 0, 59, "") or moment.hour not in expand(hour, 0, 23, ""):
        return False
    if moment.month not in expand(month, 1, 12, months):
        return False
    by_date = moment.day in expand(day, 1, 31, "")
    by_weekday = (moment.weekday() + 1) % 7 in {value % 7 for value in expand(weekday, 0, 6, days)}
    if day[0] == "*" or weekday[0] == "*":
        return by_date and by_weekday
    return by_date or by_weekday


@given(FIELDS, st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1)))
@settings(max_examples=100, deadline=None)
def test_the_next_moment_is_the_one_that_counting_minutes_finds(words: tuple[str, ...], moment: datetime) -> None:
    """No minute between the moment and the answer fits, and the answer does."""
    text = " ".join(words)
    start = moment.replace(tzinfo=UTC)
    try:
        found = cron.next_after(text, start)
    except ConfigError:
        assert not any(brute(words, datetime(2024, 1, 1) + timedelta(minutes=k)) for k in range(0, 4 * 527_040, 9_973))
        return
    assert found > start
    assert brute(words, found)
    minute = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    for _ in range(500):
        if minute >= found:
            break
        assert not brute(words, minute)
        minute += timedelta(minutes=1)
    random_minutes = range(0, max(int((found - minute).total_seconds() // 60), 0), 1_013)
    assert not any(brute(words, minute + timedelta(minutes=k)) for k in random_minutes)


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        pytest.param("0 3 1 * *", "2026-05-04T10:00", "2026-06-01T03:00", id="monthly"),
        pytest.param("0 3 1 * *", "2026-06-01T03:00", "2026-07-01T03:00", id="never-the-same-moment-again"),
        pytest.param("0 3 1 * *", "2026-06-01T02:59:59", "2026-06-01T03:00", id="within-the-minute-before"),
        pytest.param("*/15 * * * *", "2026-12-31T23:50", "2027-01-01T00:00", id="over-the-year"),
        pytest.param("0 0 29 2 *", "2096-03-01T00:00", "2104-02-29T00:00", id="leap-day-over-eight-years"),
        pytest.param("30 4 1,15 * 5", "2026-06-01T05:00", "2026-06-05T04:30", id="day-or-weekday"),
        pytest.param("0 0 * * 7", "2026-06-01T00:00", "2026-06-07T00:00", id="sunday-is-seven-too"),
        pytest.param("0 12 * JAN Mon", "2026-06-01T00:00", "2027-01-04T12:00", id="names"),
        pytest.param("0 3 1 * *", "2026-06-01T04:30+02:00", "2026-06-01T03:00", id="moments-of-other-zones"),
    ],
)
def test_schedules_people_write(text: str, after: str, expected: str) -> None:
    """The next moment, in UTC."""
    moment = datetime.fromisoformat(after)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert cron.next_after(text, moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 3 1 *", "five fields"),
        ("60 * * * *", "minute '60' is not within 0 to 59"),
        ("* * 0 * *", "day '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "weekday '8'"),
        ("* 5-3 * * *", "hour '5-3'"),
        ("*/0 * * * *", "minute '*/0'"),
        ("a * * * *", "minute 'a'"),
        ("* * * foo *", "month 'foo' is not within 1 to 12, or jan to dec"),
        ("1,,2 * * * *", "minute '1,,2'"),
        ("0 0 L * *", "day 'l'"),
        ("0 0 * * 5#2", "weekday '5#2'"),
        ("0 0 31 2 *", "no date ever fits"),
    ],
)
def test_schedules_that_are_none(text: str, message: str) -> None:
    """The message names the field and what was written."""
    with pytest.raises(ConfigError, match=message.replace("*", r"\*")):
        cron.next_after(text, NOW)


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("0 3 1 * *", "0 0 3 1 * *"),
        ("*/5 8-18 * jan-mar 1-5", "0 */5 8-18 * JAN-MAR 1-5"),
        ("0 0 * * 7", "0 0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 0 * * 0,5,6"),
        ("0 0 * * fri-sun", "0 0 0 * * 0,5,6"),
        ("0 0 * * 1-5", "0 0 0 * * 1-5"),
        ("0 0 */2 * *", "0 0 0 */2 * *"),
    ],
)
def test_kubeflow_gets_the_seconds_first(five: str, six: str) -> None:
    """The same schedule in six fields, Sunday as 0."""
    assert cron.six_fields(five) == six


@dataclass(frozen=True)
class Opened:
    """What the watch uses of a bundle."""

    contract: Any = CONTRACT
    profile: Any = field(default_factory=lambda: served().profile)
    judgement: Judgement = field(default_factory=Judgement)


@dataclass
class Home:
    """A home with version 1 serving, and what the loop asked the trainer for."""

    place: Place
    labels: Path
    runs: list[dict[str, Any]] = field(default_factory=list)
    fails: bool = False

    def train(self, _project: Any, place: Place, **asked: Any) -> TrainingResult:
        """Like a run that learns from rows until its ``as_of``."""
        self.runs.append(asked)
        if self.fails:
            raise RunFailed("train: no", 4)
        quarantine = place.root / "quarantine"
        write_json(quarantine / "report.json", {"freshness": {"newest": "2026-05-20T00:00:00"}})
        outputs = {"quarantine": {"uri": str(quarantine), "metadata": {}}}
        task = TaskResult("validate", "SUCCEEDED", 1.0, None, place.root, outputs)
        run = RunResult("02", "SUCCEEDED", {}, (task,), None, 0, 1.0, place.root)
        return TrainingResult(run, "released", "housing 2 starts at 5 %", 0, place.root / "r.html")

    def turn(self, now: datetime = NOW, **changes: Any) -> loop_run.Turn:
        policy = Retrain.model_validate({"cooldown": "7d", "fresh_labels": 100, "window": "180d"} | changes)
        project = PROJECT.model_copy(update={"retrain": policy})
        return loop_run.turn(project, self.place, now, labels=str(self.labels), source="market://recession")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The recession after version 1: its predictions are in the log, the labels in a file."""
    place = settings_module.load(str(tmp_path), environment={"USER": "tester"})
    log, labels = played("recession")
    path = tmp_path / "labels.parquet"
    labels.write_parquet(path)
    directory = tmp_path / "serving" / "housing" / "predictions"
    directory.mkdir(parents=True)
    lines = [
        json.dumps({**row, "time": f"{row['time'].isoformat()}Z", "flags": []}, default=str)
        for row in log.drop("flagged").iter_rows(named=True)
    ]
    (directory / "predictions-1.jsonl").write_text("\n".join(lines) + "\n")
    made = Home(place, path)
    champion = Champion(1, Opened())  # type: ignore[arg-type]  # the two fields that are used
    monkeypatch.setattr("components.judging.champions.find", lambda _name, _place: champion)
    monkeypatch.setattr("pipelines.here.training.train", made.train)
    return made


def test_an_alarm_becomes_one_run_and_the_next_look_waits(home: Home) -> None:
    """The run gets source, window and moment; afterwards the cooldown holds, and after it fresh labels are missing."""
    first = home.turn()
    assert first.decision.trigger == "performance", first.decision.why
    assert home.runs[0]["source"] == "market://recession"
    assert (home.runs[0]["as_of"], home.runs[0]["window"]) == (NOW, "180d")
    assert loop_run.read_state("housing", home.place).last_training_event == datetime(2026, 5, 20, tzinfo=UTC)
    second, third = home.turn(NOW + DAY), home.turn(NOW + 8 * DAY)
    assert "waits until 2026-06-10" in second.decision.why
    assert "waits for labels, 0 of 100" in third.decision.why
    assert len(home.runs) == 1


def test_a_run_that_fails_counts_for_the_cooldown(home: Home) -> None:
    """Otherwise a broken source would be trained on every hour."""
    home.fails = True
    with pytest.raises(RunFailed):
        home.turn()
    assert not home.turn(NOW + DAY).decision.run
    assert len(home.runs) == 1


def test_nothing_starts_beside_another_run(home: Home) -> None:
    """Whoever holds the home's lock is waited for, and asking does not take it."""
    lock = home.place.root / "run.lock"
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "under way" in home.turn().decision.why
    assert home.turn().decision.run


def test_runs_by_hand_count_for_the_loop(home: Home) -> None:
    """A run of `slipway run` is a last run too, and its newest row is known; other models' runs are not ours."""
    root = home.place.root
    for number, name, day in (("01", "housing", "2026-06-01"), ("02", "other", "2026-06-03")):
        write_json(root / "runs" / number / "spec.json", {"model": name, "arguments": {"as_of": day}})
    first = datetime(2026, 6, 1, tzinfo=UTC)
    assert loop_run.read_state("housing", home.place) == LoopState(last_run=first)
    outputs = {
        "ingest": {"Output": "9f"},
        "validate": {"Output": "1c", "quarantine": {"artifact": {"uri": str(root / "q")}}},
    }
    write_json(root / "runs" / "01" / "outputs.json", {"outputs": {}, "tasks": outputs})
    assert loop_run.read_state("housing", home.place).last_training_event == first + DAY
    write_json(root / "q" / "report.json", {"freshness": {"newest": "2026-05-28T04:00:00"}})
    assert loop_run.read_state("housing", home.place).last_training_event == datetime(2026, 5, 28, 4, tzinfo=UTC)
    assert "waits until 2026-06-08" in home.turn().decision.why


def test_the_cooldown_counts_from_the_moment_a_run_began(home: Home) -> None:
    """Not from the start of the day it is of; a run that plays another day counts as of that day."""
    spec = home.place.root / "runs" / "01" / "spec.json"
    write_json(spec, {"arguments": {"name": "housing", "as_of": "2026-06-02"}})
    began = datetime(2026, 6, 2, 23, 30, tzinfo=UTC)
    os.utime(spec, (began.timestamp(), began.timestamp()))
    assert loop_run.read_state("housing", home.place).last_run == began
    assert "waits until 2026-06-03 23:30" in home.turn(datetime(2026, 6, 3, 9, tzinfo=UTC), cooldown="1d").decision.why
    os.utime(spec, (began.timestamp() + 9e6, began.timestamp() + 9e6))
    assert loop_run.read_state("housing", home.place).last_run == datetime(2026, 6, 2, tzinfo=UTC)


def test_an_outage_alarms_while_it_is_in_the_window_and_not_before_or_after(home: Home) -> None:
    """103 of 104 requests of one hour failed, in a history of 20,000 good ones; each look sees its own window."""
    where = service_paths(service_directory(home.place.serving, "housing"))
    where.prepare()
    hour = datetime(2026, 5, 20, 12, tzinfo=UTC)

    def told(moment: datetime, status: int) -> str:
        entry = {"t": f"{moment.timestamp():.3f}", "r": "split|e", "c": "housing-1", "s": status, "f": "-", "d": 3}
        return json.dumps(entry) + "\n"

    good = [told(hour + timedelta(hours=h), 200) for h in (-99 * 24, 240) for _ in range(10_000)]
    bad = [told(hour, 500)] * 103 + [told(hour, 200)]
    where.access_log.write_text("".join(good + bad))
    rotate(where, lambda: None, above=0)
    alarm = {"alarm": {"error_rate": {"above": 0.1}}, "window": "5d"}
    project = PROJECT.model_copy(update={"watch": Watch.model_validate(alarm)})

    def rate(days: int) -> tuple[float | None, bool]:
        report = watch_run.watch_model(project, home.place, hour + timedelta(days=days)).report
        return report.service.error_rate, any(figure.name == "error_rate" for figure in report.beyond)

    assert rate(-1) == (None, False)
    assert rate(0) == rate(4) == (103 / 104, True)
    assert rate(10) == (0.0, False)


def test_new_rows_of_the_source_are_a_reason(home: Home) -> None:
    """With `on: [data]` the source is read, and only rows until now count."""
    table = pl.DataFrame({"sold_at": [datetime(2026, 6, 2), datetime(2026, 9, 9)], "price": [1.0, 2.0]})
    table.write_parquet(home.place.root / "rows.parquet")
    write_json(home.place.root / "loop" / "housing.json", {"last_training_event": "2026-06-01T00:00:00Z"})
    project = PROJECT.model_copy(update={"retrain": Retrain.model_validate({"on": ["data"]})})
    done = loop_run.turn(project, home.place, NOW, source=str(home.place.root / "rows.parquet"))
    assert done.decision.why.startswith("data: rows until 2026-06-02")


def test_a_look_writes_report_page_and_one_alert(home: Home) -> None:
    """The second look at the same state alerts nobody again."""
    first = watch_run.watch_model(PROJECT, home.place, NOW, labels=str(home.labels))
    second = watch_run.watch_model(PROJECT, home.place, NOW, labels=str(home.labels))
    assert (first.alerted, second.alerted) == (True, False)
    assert watch_run.previous_report(first.directory) == second.report
    assert "degraded" in (first.directory / "report.html").read_text()
    assert len((first.directory / "alerts.jsonl").read_text().splitlines()) == 1
    assert prediction_log.read(home.place.root / "serving", CONTRACT).height == first.report.labels.predictions


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param(["watch", "--as-of", "2026-06-03"], 0, "housing 1 is degraded", id="an-alarm-is-no-failure"),
        pytest.param(["watch", "--as-of", "2026-06-03", "--since", "2027-01-01"], 0, "is unknown", id="since"),
        pytest.param(["watch", "--as-of", "june"], 1, "", id="no-moment"),
        pytest.param(["watch", "--as-of", "2026-06-03", "--fail-on-alarm"], 1, "degraded", id="fail-on-alarm"),
        pytest.param(["loop", "--as-of", "2026-06-03"], 0, "retrain, performance", id="loop-once"),
        pytest.param(["loop", "--every", "1h", "--once"], 1, "", id="every-and-once"),
        pytest.param(["loop", "--every", "soon"], 1, "", id="no-length"),
    ],
)
def test_the_verbs(home: Home, words: list[str], code: int, said: str) -> None:
    """`slipway watch` and `slipway loop` tell what they saw and did."""
    rest = [*words[1:], "--project", str(HOUSING), "--labels", str(home.labels)]
    result = CliRunner().invoke(slipway, ["--home", str(home.place.root), words[0], *rest])
    assert result.exit_code == code, result.output
    assert said in " ".join(result.output.split())
    if words[-1] == "--fail-on-alarm":
        assert result.exception is not None
        assert getattr(result.exception, "exit_code", None) == 5

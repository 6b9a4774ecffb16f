"""The verdict on a version that serves: when it is an alarm, when it is not, and when nothing can be said."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.judging import metrics
from components.modelling import profiles
from components.modelling.saying import widths
from components.pages.watch_page import watch_page
from components.watching import alerts
from components.watching.figures import deviation, service
from components.watching.labels import join
from components.watching.policy import Watch
from components.watching.watch import WatchReport
from serving.bundle.judgement import Judgement
from serving.errors import ConfigError
from serving.tally import Tally
from tests.components.watching.support import CONTRACT, NOW, PROJECT, contract, judged, logged, played, served

SMALL = contract({"name": "y", "unit": "EUR"}, x={"type": "float"})
CLASSES = contract({"name": "ill", "classes": ["no", "yes"]}, x={"type": "float"})
POLICY = {"alarm": {"rmse": {"above": "1.25x"}}}


def look(
    n: int = 600,
    error: float = 10.0,
    shift: float = 0.0,
    moved: float = 0.0,
    labelled: int | None = None,
    truths: bool = True,
    policy: dict[str, Any] | None = None,
    tallies: tuple[Tally, ...] = (),
    **changes: Any,
) -> WatchReport:
    """A model whose error was 10 EUR at release, seen on *n* rows with *error*, inputs moved by *shift* and truths by
    *moved*.
    """
    random = np.random.default_rng(3)
    truth = random.normal(100, 30, 4000)
    answers = truth + random.normal(0, 10, 4000)
    values = metrics.compute("regression", truth, answers)
    reference = profiles.profile(random.normal(size=(4000, 1)), SMALL, answers, truth, values)
    y = random.normal(100, 30, n)
    log = logged(pl.DataFrame({"x": random.normal(size=n) + shift}), (y + random.normal(0, error, n)).tolist())
    known = n if labelled is None else labelled
    table = pl.DataFrame(
        {
            "request_id": log["request_id"][:known],
            "y": y[:known] + moved,
            "label_at": [datetime(2026, 6, 1)] * known,
            "happened_at": [datetime(2026, 5, 1) + timedelta(hours=i) for i in range(known)],
        }
    )
    arguments: dict[str, Any] = {"as_of": NOW, "model": "m", "version": "1"} | changes
    mine = log.filter(pl.col("version") == arguments["version"])
    arguments["labelled"] = join(mine, table, SMALL, NOW) if truths else None
    wanted = Watch.model_validate(POLICY if policy is None else policy)
    return judged(log, profile=reference, contract=SMALL, policy=wanted, service=service(log, tallies), **arguments)


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        pytest.param({}, "healthy", "alarm at 12", id="as-at-release"),
        pytest.param({"error": 20.0}, "degraded", "alarm at 12", id="errors-doubled"),
        pytest.param({"shift": 2.0}, "drifted", "x (KS 0", id="inputs-moved"),
        pytest.param({"error": 20.0, "shift": 2.0}, "degraded", "drift: x", id="both-is-degraded-and-tells-both"),
        pytest.param({"truths": False}, "unknown", "0 of 600 predictions have a label", id="no-labels"),
        pytest.param({"labelled": 99}, "unknown", "99 of 600", id="too-few-labels"),
        pytest.param({"n": 0}, "unknown", "0 of 0 predictions", id="silence-proves-nothing"),
        pytest.param({"version": "2"}, "unknown", "0 of 0 predictions", id="another-version-answered"),
        pytest.param({"error": 12.7, "n": 120}, "unknown", "labels leave it between", id="beyond-by-chance-perhaps"),
        pytest.param({"error": 20.0, "labelled": 99}, "unknown", "100 are needed", id="bad-but-few"),
        pytest.param({"policy": {}}, "unknown", "sets no bar", id="no-bar"),
        pytest.param({"truths": False, "shift": 2.0}, "drifted", "have a label", id="drift-needs-no-labels"),
        pytest.param({"as_of": NOW + timedelta(days=365)}, "unknown", "newest label is of 2026-06-01", id="stale"),
        pytest.param(
            {"policy": {"alarm": {"r2": {"below": "0.9x"}}}, "error": 30.0}, "degraded", "R2", id="below-a-bar"
        ),
        pytest.param({"policy": {"alarm": {"mae": {"above": 9}}}}, "healthy", "MAE 7", id="bar-in-the-target's-unit"),
        pytest.param(
            {"policy": {"alarm": {"rmse": {"above": "1.25x"}, "latency_p99": {"above": 50}}}},
            "degraded",
            "latency p99 99 ms (alarm at 50 ms)",
            id="slow",
        ),
        pytest.param(
            {"policy": {"alarm": {"rmse": {"above": "1.25x"}, "error_rate": {"above": 0.01}}}},
            "unknown",
            "the error rate is not known: no request of the window was counted",
            id="nothing-counted-in-the-window",
        ),
        pytest.param(
            {
                "policy": {"alarm": {"rmse": {"above": "1.25x"}, "error_rate": {"above": 0.01}}},
                "tallies": (Tally(requests=90, errors=4, durations={7: 90}), Tally(requests=10)),
            },
            "degraded",
            "error rate 4 % (alarm at 1 %)",
            id="failing-requests",
        ),
    ],
)  # fmt: skip
def test_the_verdict_and_its_sentence(changes: dict[str, Any], verdict: str, said: str) -> None:
    """The verdict follows bars, drift and labels, and the sentence gives its reason."""
    report = look(**changes)
    assert report.verdict == verdict
    assert said in report.sentence
    assert report.alarm == (verdict in ("degraded", "drifted"))


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        pytest.param({}, "healthy", "alarm at 85 %", id="as-promised"),
        pytest.param({"moved": 12.0}, "degraded", "coverage 7", id="truths-moved"),
        pytest.param({"error": 20.0}, "degraded", "coverage 6", id="errors-doubled"),
        pytest.param({"moved": 12.0, "judgement": None}, "unknown", "coverage", id="a-model-without-intervals"),
    ],
)  # fmt: skip
def test_intervals_that_hold_fewer_truths_than_promised_are_an_alarm(
    changes: dict[str, Any], verdict: str, said: str
) -> None:
    """Coverage is watched by the intervals of the bundle itself: nine of ten at its release, and then fewer."""
    random = np.random.default_rng(5)
    answers = random.normal(100, 30, 2000)
    promised = Judgement(widths=widths(answers, answers + random.normal(0, 10, 2000), 90))
    policy = {"alarm": {"coverage": {"below": 0.85}}}
    given: dict[str, Any] = {"n": 2000, "policy": policy, "judgement": promised} | changes
    report = look(**given)
    assert report.verdict == verdict, report.sentence
    assert said in report.sentence


def test_a_slow_service_is_no_reason_to_train() -> None:
    """The performance alarm is about predictions; a figure of the service degrades without asking for a new model."""
    report = look(policy={"alarm": {"rmse": {"above": "1.25x"}, "latency_p99": {"above": 50}}})
    assert report.verdict == "degraded"
    assert not report.performance_alarm
    assert look(error=20.0).performance_alarm


def test_only_the_window_is_judged() -> None:
    """Good months before the window do not hide a bad present; all of them are in the course over time."""
    random = np.random.default_rng(0)
    y = random.normal(100, 30, 1000)
    errors = np.concatenate([random.normal(0, 10, 800), random.normal(0, 25, 200)])
    log = logged(pl.DataFrame({"x": random.normal(size=1000)}), (y + errors).tolist())
    moments = [datetime(2026, 1, 1) + timedelta(hours=3 * i) for i in range(1000)]
    table = pl.DataFrame({"request_id": log["request_id"], "y": y, "happened_at": moments})
    reference = look(n=10)  # its profile's RMSE is 10
    assert reference.verdict == "unknown"
    profile = profiles.profile(random.normal(size=(500, 1)), SMALL, y, y + 10.0, {"rmse": 10.0})
    policy = Watch.model_validate(POLICY | {"window": "20d"})
    end = moments[-1].replace(tzinfo=UTC)
    report = judged(log, join(log, table, SMALL, NOW), profile, SMALL, policy, service(log), end)
    assert report.verdict == "degraded"
    assert report.judged == 161  # three hours apart, both ends of 20 days
    assert report.every == "1w"
    assert sum(bucket.labelled for bucket in report.buckets) == 1000
    assert report.buckets[1].metrics["rmse"] < 15 < report.buckets[-2].metrics["rmse"]


@pytest.mark.parametrize("shape", ["absent", "empty"])
@pytest.mark.parametrize("answers", [True, False], ids=["answers", "no-probabilities"])
def test_a_log_without_inputs_is_watched(shape: str, answers: bool) -> None:
    """Columns that are not logged are no drift; where the answers cannot be compared either, drift is not judged."""
    truth = np.arange(300.0) % 2
    log = logged(pl.DataFrame({"x": truth}), ["yes" if t else "no" for t in truth]).drop("features")
    if shape == "empty":
        log = log.with_columns(pl.lit(None, dtype=pl.Struct([])).alias("features"))
    both = np.column_stack([1 - truth, truth])
    if answers:
        log = log.with_columns(pl.Series("probabilities", both.tolist()))
    profile = profiles.profile(truth.reshape(-1, 1), CLASSES, both, truth, {})
    report = judged(log, None, profile, CLASSES, Watch(), service(log), datetime(2026, 6, 2, tzinfo=UTC))
    assert report.drift is not None
    assert report.drift.not_logged == ("x",)
    assert [column.column for column in report.drift.columns] == (["prediction"] if answers else [])
    assert ("drift is not judged" in report.sentence) == (not answers)
    assert "Not logged: x" in watch_page(report)


@pytest.mark.parametrize("further", [0, 400], ids=["ends", "goes-on"])
def test_a_look_at_the_past_is_the_same_on_a_log_that_goes_on(further: int) -> None:
    """What was answered after the moment of the look is in no figure and no drift."""
    random = np.random.default_rng(5)
    x, y = random.normal(size=400), random.normal(100, 30, 400)
    end = datetime(2026, 6, 1, 0, 6, 39)
    log = logged(pl.DataFrame({"x": [*x, *[9.0] * further]}), [*(y + random.normal(0, 10, 400)), *[0.0] * further])
    table = pl.DataFrame({"request_id": log["request_id"], "y": [*y, *[500.0] * further]})
    profile = profiles.profile(x.reshape(-1, 1), SMALL, y, y + 10.0, {"rmse": 10.0})
    met, moment = join(log, table, SMALL, end.replace(tzinfo=UTC)), end.replace(tzinfo=UTC)
    report = judged(log, met, profile, SMALL, Watch.model_validate(POLICY), service(log), moment)
    assert (report.verdict, report.judged, report.drift and report.drift.rows) == ("healthy", 400, 400)


@pytest.mark.parametrize("world", ["calm", "season"])
def test_nothing_happens_in_a_market_that_does_not_change(world: str) -> None:
    """Three months that go on like the training data, its yearly cycle included, are healthy: no alarm, no drift."""
    model = served(world)
    log, labels = played(world, range(24, 27), model)
    policy = PROJECT.watch.model_copy(update={"window": timedelta(days=180)})
    report = judged(log, join(log, labels, CONTRACT, NOW), model.profile, CONTRACT, policy, service(log), NOW)
    assert report.verdict == "healthy", report.sentence
    assert report.judged > 600


@pytest.mark.parametrize(
    ("world", "verdict", "columns"),
    [
        pytest.param("recession", "degraded", {"interest_rate"}, id="prices-fall"),
        pytest.param("covariate-shift", "drifted", {"region", "area_m2"}, id="other-homes-come"),
    ],
)
def test_a_market_that_turns_is_noticed(world: str, verdict: str, columns: set[str]) -> None:
    """A changed relationship is an alarm by error, changed inputs one by drift, on the columns that changed."""
    log, labels = played(world)
    report = judged(
        log,
        join(log, labels, CONTRACT, NOW),
        served().profile,
        CONTRACT,
        PROJECT.watch,
        service(log),
        NOW,
        model="housing",
    )
    assert report.verdict == verdict, report.sentence
    assert report.drift is not None
    assert columns <= {column.column for column in report.drift.drifted}


def test_labels_of_the_future_are_not_used() -> None:
    """Seen from the first of February hardly a label of the turned market is known, so nothing can be said of it."""
    log, labels = played("recession")
    early = datetime(2026, 2, 1, tzinfo=UTC)
    report = judged(
        log, join(log, labels, CONTRACT, early), served().profile, CONTRACT, PROJECT.watch, service(log), early
    )
    assert not report.performance_alarm
    assert "predictions have a label" in report.unknown
    assert report.labels.later > 700


@pytest.mark.parametrize("probabilities", [True, False], ids=["with-probabilities", "with-classes-only"])
def test_classification_uses_the_probabilities_when_they_are_logged(probabilities: bool) -> None:
    """Log loss and AUC need them; accuracy and F1 do with the answered class; drift of the prediction too."""
    random = np.random.default_rng(1)
    truth = (random.random(400) < 0.4).astype(float)
    chance = np.clip(0.25 + 0.5 * truth + random.normal(0, 0.12, 400), 0.01, 0.99)
    both = np.column_stack([1 - chance, chance])
    words = ["yes" if p > 0.5 else "no" for p in chance]
    logged_chances = pl.Series(both.tolist() if probabilities else [None] * 400, dtype=pl.List(pl.Float64))
    x = random.normal(size=400)
    log = logged(pl.DataFrame({"x": x}), words, probabilities=logged_chances)
    table = pl.DataFrame({"request_id": log["request_id"], "ill": np.where(truth == 1, "yes", "no")})
    values = metrics.compute("classification", truth, both)
    profile = profiles.profile(x.reshape(-1, 1), CLASSES, both, truth, values)
    policy = Watch.model_validate({"alarm": {"log_loss": {"above": 2}} if probabilities else {"f1": {"below": 0.1}}})
    report = judged(log, join(log, table, CLASSES, NOW), profile, CLASSES, policy, service(log), NOW)
    seen = {figure.name: figure.value for figure in report.figures if figure.name in metrics.METRICS}
    assert report.verdict == "healthy"
    stated = {"roc_auc", "log_loss", "calibration"} if probabilities else set()
    assert set(seen) == stated | {"f1", "accuracy", "recall"}
    assert seen == pytest.approx({name: values[name] for name in seen})
    assert report.drift is not None
    assert len(report.drift.columns) == (2 if probabilities else 1)


@pytest.mark.parametrize(
    ("alarm", "message"),
    [
        pytest.param({"rsme": {"above": 1}}, "watch.alarm.rsme: expected one of rmse", id="misspelt"),
        pytest.param({"f1": {"below": 1}}, "watch.alarm.f1", id="of-another-task"),
        pytest.param({"latency_p99": {"above": "2x"}}, "plain number", id="multiple-of-nothing"),
    ],
)
def test_an_alarm_on_nothing_is_refused(alarm: dict[str, Any], message: str) -> None:
    """A misspelt alarm would be silent for ever."""
    with pytest.raises(ConfigError, match=message):
        look(policy={"alarm": alarm})


@pytest.mark.parametrize("n", [300, 9000])
def test_the_interval_is_that_of_the_mean(n: int) -> None:
    """For a plain mean the bootstrap finds the textbook standard error, also where it resamples fewer rows."""
    random = np.random.default_rng(4)
    truth, answers = np.zeros(n), random.normal(5, 2, n)
    assert deviation("bias", truth, answers) == pytest.approx(2 / np.sqrt(n), rel=0.15)


def test_figures_of_the_service_prefer_what_callers_saw() -> None:
    """With the proxy's counts latency and errors are theirs; without, those of the server's own log."""
    log = logged(pl.DataFrame({"x": [0.0] * 200}), [1.0] * 200)
    by_log = service(log)
    assert (by_log.requests, by_log.seen_by, by_log.error_rate) == (200, "server", None)
    assert by_log.requests_per_s == pytest.approx(200 / 199)
    by_proxy = service(log, [Tally(requests=300, errors=3, durations={5: 297, 900: 3})])
    assert (by_proxy.latency_p50, by_proxy.latency_p99, by_proxy.error_rate) == (5, 5, 0.01)
    assert service(log.clear()).latency_p99 is None


def test_the_report_survives_json_and_the_page_needs_nothing_from_elsewhere() -> None:
    """The value is the same after JSON; the page escapes names from data and links to nothing."""
    report = look(error=20.0, model="<b>housing</b>")
    assert WatchReport.model_validate_json(json.dumps(report.model_dump(mode="json"), allow_nan=False)) == report
    page = watch_page(report)
    assert "<b>housing" not in page
    assert "RMSE by day" in page
    assert "alarm at" in page
    assert not any(word in page for word in ("<script", "src=", "href=", "@import", "url("))
    assert "0 of 0 predictions" in watch_page(look(n=0))


class Hook(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))  # type: ignore[attr-defined]  # the list below
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        server.bodies = []  # type: ignore[attr-defined]  # what came
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_alert_is_a_line_in_the_file_and_a_post(tmp_path: Path, hook: HTTPServer) -> None:
    """Both hold the same JSON, and a second alert is a second line."""
    report = look(error=20.0)
    address = f"http://127.0.0.1:{hook.server_port}/alerts"
    assert alerts.send(report, tmp_path / "new" / "alerts.jsonl", address) == ""
    assert alerts.send(report, tmp_path / "new" / "alerts.jsonl", address) == ""
    lines = [json.loads(line) for line in (tmp_path / "new" / "alerts.jsonl").read_text().splitlines()]
    assert lines == hook.bodies  # type: ignore[attr-defined]  # the list above
    assert lines[0]["verdict"] == "degraded"
    assert lines[0]["figures"] == ["rmse"]


@pytest.mark.parametrize("kind", ["refuses", "silent", "closed", "no-address"])
def test_a_webhook_that_fails_is_a_warning(
    tmp_path: Path, hook: HTTPServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the other side does, the line is in the file and the caller goes on."""
    monkeypatch.setattr(Hook, "status", 500)
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        addresses = {
            "refuses": f"http://127.0.0.1:{hook.server_port}",
            "silent": f"http://127.0.0.1:{quiet.getsockname()[1]}",
            "closed": "http://127.0.0.1:1",
            "no-address": "file:///etc/passwd",
        }
        warning = alerts.send(look(error=20.0), tmp_path / "alerts.jsonl", addresses[kind], timeout_s=0.3)
    assert warning.startswith("webhook")
    assert len((tmp_path / "alerts.jsonl").read_text().splitlines()) == 1


def test_an_alert_is_news_once() -> None:
    """The same verdict on the same figures and columns is told once; a new column is news again."""
    bad, worse = look(error=20.0), look(error=20.0, shift=2.0)
    assert alerts.is_news(bad, None)
    assert not alerts.is_news(bad, look(error=21.0))
    assert alerts.is_news(worse, bad)

"""What a rollout shows to people and programs: the page, the gauges, and notices of its transitions."""

import json
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ConfigError
from serving.local.pages import pages
from serving.rollout.controller.acting import look
from serving.rollout.controller.notices import Notices
from serving.rollout.controller.persistence import Command
from serving.rollout.decision.events import Notice
from serving.rollout.state import Phase
from serving.rollout.telling.explain import status
from serving.rollout.telling.gauges import gauges, text
from serving.rollout.telling.page import rollout_page
from tests.serving.rollout.fake import Behaviour
from tests.serving.rollout.support import NOW, World

EVENT = Notice(NOW, "housing", "r1", Phase.STEP, Phase.ROLLBACK, "rollback", "harm is shown", critical=True)
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Checks that elements close in order, and collects text and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def shown(world: World) -> tuple[str, Reader]:
    seen = status(world.state, world.clock(), look(world.backend, world.state, lambda _: ""), world.desk.current())
    html = rollout_page(world.state, seen, world.desk.records(world.state.id), world.clock())
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return " ".join(" ".join(reader.words).split()), reader


def test_the_page_needs_nothing_else(world: World) -> None:
    """No script, no address outside of itself: it can be mailed, and opened without a network."""
    world.start()
    world.run()
    _, reader = shown(world)
    assert not [value for name, value in reader.attributes if name in ("src", "href") or "http" in (value or "")]


def test_a_live_step_shows_split_evidence_and_what_is_missing(world: World) -> None:
    """Configured, observed and realized split, each gate against its bar, and the requests still needed."""
    world.start()
    world.until_phase("step")
    world.run(lambda tick: tick.state is not None and tick.state.counts != {}, 20)
    text, reader = shown(world)
    for word in ("configured", "observed", "realized", "Could newly fail, against rho", "Evidence of harm", "of 100"):
        assert word in text
    assert ("http-equiv", "refresh") in reader.attributes
    assert "more requests certify" in text


def test_the_end_says_why_in_words(world: World) -> None:
    """After a rollback the reason stands first, and the page does not load itself any more."""
    world.backend.behave("housing-2", Behaviour(errors=0.5))
    world.start()
    world.run()
    text, reader = shown(world)
    assert world.state.phase is Phase.ROLLED_BACK
    assert re.search(r"rolled back The candidate does harm: evidence [\d.e+]+ is above 100", text)
    assert ("http-equiv", "refresh") not in reader.attributes


def test_what_people_say_is_text_on_the_page(world: World) -> None:
    """A reason is shown as it was written, never as a part of the page."""
    world.start()
    world.until_phase("step")
    world.desk.ask(Command("pause", "<b>me</b>", "<script>alert(1)</script>"))
    world.run(lambda tick: tick.state is not None and tick.state.phase is Phase.PAUSED, 10)
    text, reader = shown(world)
    assert "<script>alert(1)</script>" in text
    assert "script" not in reader.open


def test_a_rollout_without_evidence_yet_has_a_page(world: World) -> None:
    """From the first moment on."""
    world.start()
    assert "pending" in shown(world)[0]


def test_gauges_are_prometheus_text(world: World) -> None:
    """With the figures of the status, and one phase that is 1."""
    world.start()
    world.until_phase("step")
    seen = status(world.state, world.clock(), look(world.backend, world.state, lambda _: ""))
    families = {family.name: family for family in text_string_to_metric_families(text(gauges(seen)))}
    weights = {
        (sample.labels["kind"], sample.labels["revision"]): sample.value
        for sample in families["slipway_rollout_weight_ratio"].samples
    }
    assert weights[("configured", "housing-2")] == 0.05
    assert families["slipway_rollout_harm_threshold"].samples[0].value == 100
    phases = {sample.labels["phase"]: sample.value for sample in families["slipway_rollout_phase"].samples}
    assert [phase for phase, value in phases.items() if value] == ["step"]
    assert set(phases) == {phase.value for phase in Phase}


def test_page_and_gauges_are_served(tmp_path: Path) -> None:
    """On a port that stays the same, with words where there is no rollout yet, and nothing else."""
    with pages(tmp_path) as first:
        assert "no rollout has been started" in asked(first)[1]
        (tmp_path / "rollout.html").write_text("<html>page</html>")
        (tmp_path / "rollout.prom").write_text("slipway 1\n")
        assert asked(first) == (200, "<html>page</html>")
        assert asked(f"{first}metrics") == (200, "slipway 1\n")
        assert asked(f"{first}rollout.db")[0] == 404
        assert asked(f"{first}../pages.json")[0] == 404
    with pages(tmp_path) as second:
        assert second == first


def asked(address: str) -> tuple[int, str]:
    answer = httpx.get(address, trust_env=False)
    return answer.status_code, answer.text


class Hook:
    """A webhook on this machine; *answer* is called for each request."""

    def __init__(self, status: int = 200, hold: threading.Event | None = None) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.came = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.bodies.append(json.loads(body))
                outer.came.set()
                if hold is not None:
                    hold.wait(30)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/hook"

    def __enter__(self) -> "Hook":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_a_transition_is_posted_and_kept(tmp_path: Path) -> None:
    """The webhook and the file get the same JSON."""
    with Hook() as hook:
        notices = Notices(tmp_path / "notices.jsonl", hook.address)
        notices(EVENT)
        notices.close(30)
    assert hook.bodies == [json.loads((tmp_path / "notices.jsonl").read_text())]
    assert hook.bodies[0]["text"] == "housing: step -> rollback: harm is shown"
    assert hook.bodies[0]["critical"] is True


def test_a_webhook_that_refuses_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And the next event is tried all the same."""
    with Hook(500) as hook:
        notices = Notices(tmp_path / "notices.jsonl", hook.address)
        notices(EVENT)
        notices(EVENT)
        notices.close(30)
    assert len(hook.bodies) == 2
    assert "a notice is not delivered" in caplog.text


def test_a_webhook_that_hangs_holds_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The controller goes on at once; what is not taken in time is in the file only."""
    hold = threading.Event()
    with Hook(hold=hold) as hook:
        notices = Notices(tmp_path / "notices.jsonl", hook.address, timeout_s=0.05)
        for _ in range(300):
            notices(EVENT)
        assert hook.came.wait(30)
        hold.set()
    assert len((tmp_path / "notices.jsonl").read_text().splitlines()) == 300
    assert "too many wait" in caplog.text


def test_a_webhook_is_an_http_address(tmp_path: Path) -> None:
    """Anything else is told when serving starts, not at the first event."""
    with pytest.raises(ConfigError, match="http"):
        Notices(tmp_path / "notices.jsonl", "file:///etc/passwd")


def test_without_a_webhook_only_the_file_is_written(tmp_path: Path) -> None:
    """No thread, no network."""
    notices = Notices(tmp_path / "notices.jsonl")
    notices(EVENT)
    notices.close()
    assert json.loads((tmp_path / "notices.jsonl").read_text())["after"] == "rollback"

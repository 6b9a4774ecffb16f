"""The main job in one go: raw rows to live traffic, the market turns, the alarm, the retraining, the canary, and back.

Everything that happens here happens by the parts that also serve in earnest; the tour only plays the market's buyers
and its land registry, and shortens the waiting times of the rollout, since its buyers ask much faster than real ones.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from components.projects.project import Project
from components.steps.place import Place
from pipelines.here import serving as serving_here
from pipelines.here.runner import TaskEvent
from pipelines.here.training import TrainingResult, train
from pipelines.housing import market
from pipelines.housing.tour.buyers import Crowd, Replies, requests_of, send
from pipelines.loop.decide import LoopDecision
from pipelines.loop.turn import Turn, turn
from pipelines.loop.watch import Watched, watch_model
from serving.errors import Inconclusive
from serving.ledger.ledger import Ledger, open_ledger
from serving.local import client
from serving.local.paths import service_directory
from serving.places import open_service
from serving.rollout.plan import RolloutPlan
from serving.service.follow import End, follow

SEED = 7
CALM = range(24)  # months the first version learns from
QUIET = range(22, 24)  # of them the newest, held out of the training, asked about before the market turns
TURNED = range(24, 27)  # months the market has turned, asked about while the first version serves
AFTER = range(27, 28)  # asked about once the second version serves
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
SECOND_DAY = datetime(2026, 5, 10, tzinfo=UTC)  # by then the land registry knows all sales of the turned months
LAST_DAY = datetime(2026, 6, 10, tzinfo=UTC)
QUICK = {"dwell": "1s", "bake": "2s", "step": "90s", "metrics": "20s", "converge": "20s", "drain": "10s"}

Line = Callable[..., None]


@dataclass(frozen=True)
class Happening:
    """One line as it was printed.

    Attributes:
        at: seconds since the tour began.
        seconds: how long it took, where that is known.
        aside: a step of a run, which the page leaves out.
    """

    at: float
    subject: str
    text: str
    seconds: float | None = None
    aside: bool = False


@dataclass
class TourLog:
    """What happened, for the timeline at the end and the page."""

    line: Line
    started: float = field(default_factory=time.monotonic)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    happenings: list[Happening] = field(default_factory=list)

    def tell(self, subject: str, text: str, *, seconds: float | None = None, aside: bool = False, **facts: Any) -> None:
        self.happenings.append(Happening(time.monotonic() - self.started, subject, text, seconds, aside))
        self.line(subject, text, seconds=seconds, **facts)


@dataclass(frozen=True)
class Played:
    """What the tour came to.

    Attributes:
        runs: the training runs, one in a world that gives no reason for a second.
        quiet, turned, after: looks at the serving version before the turn, after it, and after the retraining.
        canary: how the rollout ended; None without a second version.
        buyers: all requests by the part of the story in which they were sent.
    """

    runs: tuple[TrainingResult, ...]
    quiet: Watched
    turned: Watched
    after: Watched | None
    canary: End | None
    buyers: dict[str, Replies]


@dataclass
class Tour:
    """One playing of the story in *world*, in a place of its own."""

    project: Project
    place: Place
    world: str
    story: TourLog
    address: str
    on_event: Callable[[TaskEvent], None]

    def __post_init__(self) -> None:
        plan = self.project.rollout
        quick = RolloutPlan.model_validate({**plan.model_dump(), "time": {**plan.time.model_dump(), **QUICK}})
        self.project = self.project.model_copy(update={"rollout": quick})
        self.ledger: Ledger = open_ledger(self.place.ledger)
        self.service = open_service(self.place.serving, self.model, self.place.ledger)
        self.buyers: dict[str, Replies] = {}

    @property
    def model(self) -> str:
        return self.project.name

    def play(self) -> Played:
        """The whole story; the endpoint serves when it returns."""
        self._market()
        first = train(self.project, self.place, as_of=FIRST_DAY, source=self._source(CALM), on_event=self.on_event)
        quiet = self._ask_and_watch("before", QUIET, FIRST_DAY.replace(month=3))
        self._turn_market()
        self._ask("turned", TURNED)
        done = self._loop()
        assert done.watched is not None  # noqa: S101 - the first version serves
        if done.result is None:
            return Played((first,), quiet, done.watched, None, None, self.buyers)
        canary = self._canary()
        after = self._ask_and_watch("after", AFTER, LAST_DAY)
        self._back_and_forth()
        self._batch()
        return Played((first, done.result), quiet, done.watched, after, canary, self.buyers)

    def _market(self) -> None:
        began = time.monotonic()
        rows = len(market.sales(self.world, CALM, SEED))
        text = f"{len(CALM)} months of {self.world if self.world == 'season' else 'calm'}, {rows:,} sales, seed {SEED}"
        self.story.tell("market", text, seconds=time.monotonic() - began)

    def _source(self, months: range) -> str:
        return f"market://{self.world}?from={months.start}&until={months.stop}&seed={SEED}&turn={TURNED.start}"

    def _ask(self, part: str, months: range) -> None:
        """Send what the buyers of *months* want to know; their sales become the registry's labels."""
        requests = requests_of(self._sales(months).to_dicts(), self.project.contract)
        replies = self.buyers[part] = send(self.address, self.model, requests)
        answered = "all answered" if not replies.lost else f"{replies.lost} lost"
        versions = ", ".join(f"version {name}: {count:,}" for name, count in replies.by_version.items())
        text = f"{len(replies):,} requests, {answered}, p99 {replies.p99_ms():.1f} ms ({versions})"
        self.story.tell("traffic", text, lost=replies.lost)

    def _sales(self, months: range) -> pl.DataFrame:
        return market.sales(self.world, months, SEED, turn=TURNED.start, dirty=0.0)

    def _labels(self) -> str:
        """The registry's table of all sales that buyers asked about, each known from its ``label_at`` on."""
        columns = ["sale_id", "price", "label_at", "sold_at"]
        path = self.place.root / "tour" / "labels.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = pl.concat([self._sales(months).select(columns) for months in (QUIET, TURNED, AFTER)])
        rows.rename({"sale_id": "request_id"}).write_parquet(path)
        return str(path)

    def _ask_and_watch(self, part: str, months: range, day: datetime) -> Watched:
        self._ask(part, months)
        seen = watch_model(self.project, self.place, day, labels=self._labels(), answered=datetime.now(UTC))
        self._tell_watch(seen)
        return seen

    def _tell_watch(self, seen: Watched) -> None:
        self.story.tell("watch", seen.report.sentence, verdict=seen.report.verdict)

    def _turn_market(self) -> None:
        words = {
            "recession": f"recession: {len(TURNED)} months, prices fall, labels three to five weeks late",
            "calm": f"nothing: {len(TURNED)} more calm months",
            "season": f"another winter: {len(TURNED)} months with the season's prices",
        }
        self.story.tell("market turns", words.get(self.world, f"{self.world}: {len(TURNED)} months"))

    def _loop(self) -> Turn:
        def decided(decision: LoopDecision, watched: Watched | None) -> None:
            if watched is not None:
                self._tell_watch(watched)
            self.story.tell("loop", decision.sentence, run=decision.run)

        source = self._source(range(TURNED.stop))
        return turn(
            self.project, self.place, SECOND_DAY, labels=self._labels(), source=source,
            answered=datetime.now(UTC), on_decision=decided, on_event=self.on_event,
        )  # fmt: skip

    def _canary(self) -> End:
        """Buyers ask on while the rollout decides."""
        began = time.monotonic()
        newest = self.ledger.versions(self.model)[-1].version
        with self._crowd() as crowd:
            end = follow(self.service, self.story.tell, version=newest, timeout_s=300)
            if end.phase == "succeeded":
                self.service.await_traffic(self.ledger)
        self.buyers["canary"] = crowd.replies
        if end.phase != "succeeded":
            raise Inconclusive(f"the rollout of {self.model} {newest} ended as {end.phase}: {end.sentence}")
        text = f"{self.model} {newest} serves; {len(crowd.replies):,} requests meanwhile, {crowd.replies.lost} lost"
        self.story.tell("promoted", text, seconds=time.monotonic() - began, lost=crowd.replies.lost)
        return end

    def _crowd(self) -> Crowd:
        requests = requests_of(self._sales(AFTER).to_dicts(), self.project.contract, prefix="canary-")
        return Crowd(self.address, self.model, requests, clients=3)

    def _back_and_forth(self) -> None:
        """One rollback and forward again, under load."""
        with self._crowd() as crowd:
            began = time.monotonic()
            back = self.ledger.rollback(self.model, self.place.actor, "the tour shows the way back")
            self.service.await_traffic(self.ledger)
            seconds = time.monotonic() - began
            forward = self.ledger.rollback(self.model, self.place.actor, "and forward again")
            self.service.await_traffic(self.ledger)
        self.buyers["rollback"] = crowd.replies
        text = (
            f"{self.model} {back.version} served again after {seconds:.1f} s, then {self.model} {forward.version}; "
            f"{len(crowd.replies):,} requests meanwhile, {crowd.replies.lost} lost"
        )
        self.story.tell("rollback", text, seconds=time.monotonic() - began, lost=crowd.replies.lost)

    def _batch(self) -> None:
        """The same rows as a batch, compared with the answers that buyers got."""
        from components.judging import champions
        from serving.files import whole_file

        began = time.monotonic()
        rows = self._sales(AFTER)
        champion = champions.find(self.model, self.place)
        assert champion is not None  # noqa: S101 - two versions were released
        matrix = champion.bundle.contract.encode(rows.select(self.project.contract.names).to_pandas())
        predicted = rows.select("sale_id").with_columns(pl.Series("prediction", champion.bundle.scorer.score(matrix)))
        path = self.place.root / "tour" / "predictions.parquet"
        with whole_file(path) as temporary:
            predicted.write_parquet(temporary)
        live = {reply.request_id: reply.prediction for reply in self.buyers["after"].replies}
        equal = sum(live[key] == value for key, value in predicted.iter_rows())
        text = f"{len(predicted):,} rows to {path}, {equal:,} equal to the live answers"
        self.story.tell("batch", text, seconds=time.monotonic() - began, equal=equal)


@contextlib.contextmanager
def serving(project: Project, place: Place, port: int, *, keep: bool) -> Iterator[str]:
    """The endpoint in the background; ended with the block unless it is to be kept."""
    assert project.file is not None  # noqa: S101 - a tour is of a project that was loaded
    address = serving_here.launch(project.file, place, port)
    try:
        yield address
    finally:
        if not keep:
            client.stop(service_directory(place.serving, project.name))

"""``slipway rollout experiment``: an A/B test on a fixed split, compared at any time, stopped at a verdict."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pipelines.cli.options import answer, project_option
from pipelines.cli.session import Session
from serving.errors import DataError, UsageError

if TYPE_CHECKING:
    from typing import Literal

    from serving.rollout.evidence.experiment import MetricKind

metric_option = click.option(
    "--metric",
    type=click.Choice(["error", "slow", "loss", "latency", "value"]),
    default="error",
    show_default=True,
    help="What is compared; `value` is what `experiment value` was told.",
)
percent_option = click.option(
    "--percent", type=click.FloatRange(0.1, 99.9), default=50.0, show_default=True, help="Of requests, to variant b."
)
alpha_option = click.option("--alpha", type=float, default=0.05, show_default=True, help="Chance of a wrong interval.")


@click.group()
def experiment() -> None:
    """Compare two versions on a fixed split; looking at it as often as one likes changes no error rate."""


@experiment.command()
@click.argument("version", type=int)
@percent_option
@click.option("--sticky", "header", help="Request header whose value keeps a caller on one variant; keys are counted.")
@project_option
@answer
def start(session: Session, version: int, percent: float, header: str | None) -> None:
    """Give VERSION a fixed share beside the one that serves; `rollout set 0` or `rollout promote` ends it."""
    from serving.local.paths import service_directory
    from serving.rollout.backend import callers_header
    from serving.service.release import refuse_during_rollout

    if header is not None and not callers_header(header):
        raise UsageError(f"--sticky: expected a header's name such as x-user-id, got {header!r}")
    service_directory(session.place.serving, session.model)  # variants are compared beside a service of this machine
    model, ledger, service = session.model, session.ledger, session.service()
    refuse_during_rollout(service)
    seen, actor = ledger.slot(model, "canary").revision, session.place.actor
    ledger.canary(model, version, percent, actor, "experiment", expected_revision=seen, sticky_header=header)
    units = "requests" if header is None else f"callers, told apart by {header}"
    session.await_traffic(ledger, service, f"{model} {version} is variant b with {percent:g} % of {units}")


@experiment.command()
@metric_option
@alpha_option
@click.option("--margin", type=float, default=0.0, show_default=True, help="Difference that does not matter.")
@click.option(
    "--prefer", type=click.Choice(["lower", "higher"]), help="What is good; by default higher for `value`, else lower."
)
@project_option
@answer
def compare(
    session: Session, metric: "MetricKind", alpha: float, margin: float,
    prefer: "Literal['lower', 'higher'] | None",
) -> None:  # fmt: skip
    """Variant b (the canary) minus variant a, with an interval that holds at every look, and the verdict.

    With a sticky header an observation is a key: its first request, or for `value` the sum over its requests so far.
    """
    from serving.local.experiment import observed, variants
    from serving.rollout.evidence import experiment as statistics

    running = variants(session.directory)
    try:
        chosen = statistics.ExperimentPlan(
            share=running.share,
            metric=metric,
            prefer=prefer or ("higher" if metric == "value" else "lower"),
            alpha=alpha,
            margin=margin,
            sticky_header=running.sticky_header,
        )
    except ValueError as error:
        raise UsageError(f"--prefer {prefer} --alpha {alpha:g} --margin {margin:g}: {error}") from error
    a, b = observed(session.directory, running, metric, session.project.rollout.gates)
    found = statistics.compare(chosen, a, b)
    units = "observations" if running.sticky_header is None else "keys"
    lines = [f"a {running.a}: {a.values.n:,} {units}, b {running.b}: {b.values.n:,}", found.sentence]
    session.result({"a": running.a, "b": running.b, **asdict(found)}, "\n".join(lines))


@experiment.command()
@click.argument("uri")
@project_option
@answer
def value(session: Session, uri: str) -> None:
    """Tell what requests were worth: the table at URI has columns request_id and value.

    One row per request, with 0 for one that earned nothing; a request that was told before keeps its first value.
    """
    from serving.local.experiment import append_values

    values = _values(session, uri)
    session.directory.mkdir(parents=True, exist_ok=True)
    append_values(session.directory, values)
    session.result({"values": len(values)}, f"{len(values):,} values for {session.model}")


@experiment.command()
@metric_option
@alpha_option
@percent_option
@click.option("--base", type=float, required=True, help="Variant a's rate in [0, 1], or mean.")
@click.option("--effect", type=float, required=True, help="Smallest difference b minus a that should be found.")
@click.option("--deviation", type=float, help="Standard deviation of one latency or value.")
@click.option(
    "--rate", "rate_per_s", type=float, default=50.0, show_default=True, help="Requests, or new keys, per second."
)
@answer
def power(
    session: Session, metric: "MetricKind", alpha: float, percent: float, base: float, effect: float,
    deviation: float | None, rate_per_s: float,
) -> None:  # fmt: skip
    """Requests until a difference is found with a chance of 80 %; with a sticky header these are keys."""
    from serving.durations import spoken
    from serving.rollout.evidence import experiment as statistics

    chosen = statistics.ExperimentPlan(share=percent / 100, metric=metric, alpha=alpha)
    try:
        found = statistics.power(chosen, effect, base=base, deviation=deviation, rate_per_s=rate_per_s)
    except ValueError as error:
        raise UsageError(str(error)) from error
    text = (
        f"{found.sequential:,} requests to both, looked at any time (about {spoken(found.seconds or 0)} at "
        f"{rate_per_s:g}/s); {found.fixed:,} with a single look at the end"
    )
    session.result(asdict(found), text)


def _values(session: Session, uri: str) -> dict[str, float]:
    """What each request of the table at *uri* was worth."""
    from components.watching.labels import needed, told
    from serving.contract import Column

    number = Column(type="float")
    found = told(session.read_table(uri, needed("value", number)), "value", uri, number)
    if found.unusable:
        raise DataError(f"values: expected finite numbers in {uri}, got {found.example!r}; mend or leave out that row")
    if len(found.values) < found.rows:
        raise DataError(f"values: expected one row per request_id in {uri}, some have more; add them up")
    return found.values

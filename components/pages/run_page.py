"""The report of one run as one HTML page that needs nothing from elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.data.quarantine_report import told
from components.judging import metrics
from components.judging.jackknife import quantile
from components.judging.metrics import Metric
from components.modelling.search.tuning_values import Trial
from components.pages.besides import besides
from components.pages.classes import classes_table
from components.pages.contributions import moving
from components.pages.evaluation_plots import COURSE, evaluation_plots, trials_plot
from components.pages.lineage import lineage, reproduce
from components.pages.slices import slices_table
from serving.pages.html import (
    Html,
    badge,
    beside,
    figure,
    figures,
    identifier,
    join,
    page,
    pairs,
    section,
    shares,
    table,
    tag,
    text,
    tile,
    tiles,
    tone,
    verdict,
)
from serving.pages.words import moment, number, with_unit

if TYPE_CHECKING:
    from components.judging.gates import Check, GateReport
    from components.pages.run_facts import RunFacts

LISTED = 50  # of what a contract narrows
PICTURES = {
    "errors": (
        "Errors",
        "Left of the dashed line the prediction was too low, right of it too high; the outer bars are open.",
    ),
    "predicted_actual": (
        "Predicted against actual",
        "One dot per held-out row, at most 1,000; on the dashed line the prediction is exact.",
    ),
    "confusion": ("Confusion", "Rows are the true class, and the percentages are shares of it."),
    "roc": ("ROC curve", "The further above the dashed line of chance, the better the classes are told apart."),
    "calibration": (
        "Calibration",
        "How often a class was true, per stated probability: dots on the line mean it can be believed.",
    ),
    "over_time": ("Over time", "Stretches of as many held-out rows each, by their event time."),
    "importance": (
        "What columns are worth",
        "How much worse it gets when a column's values are dealt anew among rows; columns that tell the same share.",
    ),
}


def run_page(facts: "RunFacts", aftermath: Sequence[tuple[str, str]] = ()) -> str:
    """What data, what was refused and why, how good the model is, what was decided, and where it all came from.

    *aftermath* is what became of the candidate later, as (label, sentence): verification, version, release.
    """
    body = [
        tag("p", f"Report of a training run, {moment(facts.ended)}", cls="over"),
        tag("h1", f"{facts.name}, run {facts.run_id}"),
        _verdict(facts.decision),
        _problem(facts),
        tiles(_headline(facts)),
        section("What happened next", pairs(aftermath)),
        section("Data", *_data(facts)),
        section("Model", *_model(facts)),
        section("Gates", *_gates(facts)),
        section("On rows it had not seen", *_pictures(facts)),
        section("What moves a prediction", *moving(facts.evaluation)),
        section("Slices", *slices_table(facts.evaluation, facts.champion)) if facts.evaluation.slices else "",
        section("From a prediction to its rows", *lineage(facts)),
        section("Make it again", *reproduce(facts)),
    ]
    title = f"{facts.name}, run {facts.run_id}"
    return page(title, facts.decision.sentence, body, foot=f"{title}, bundle {facts.digest[:12]}. Written by Slipway.")


def _verdict(decision: "GateReport") -> Html:
    word, _, told = decision.sentence.partition(": ")
    failed = [check for check in (*decision.checks, *decision.guards) if not check.passed]
    lead = told.partition(": ")[0] if failed else told
    content = [tag("p", badge(word, tone(decision.accepted)), lead + ("." if not failed else ":"))]
    if failed:
        content.append(tag("ul", *(tag("li", check.sentence) for check in failed)))
    return verdict(tone(decision.accepted), *content)


def _problem(facts: "RunFacts") -> Html:
    """The purpose as the project states it, and whether its figure was reached."""
    problem: Mapping[str, Any] = facts.settings.get("problem") or {}
    lines = [("Purpose", text(problem["objective"]))] if problem.get("objective") else []
    if problem.get("success"):
        lines.append(("Success", _success(problem["success"], facts)))
    return pairs(lines)


def _success(success: Mapping[str, Any], facts: "RunFacts") -> Html:
    metric, unit = metrics.METRICS.get(success["metric"]), facts.evaluation.unit
    least, most = success.get("at_least"), success.get("at_most")
    level = most if least is None else least
    if metric is None or level is None:
        return text(f"{success['metric']}: the project states no level that could be held against it")
    seen = facts.evaluation.metrics.get(metric.name)
    reached = seen is not None and (seen >= level if least is not None else metric.loss(seen) <= level)
    wanted = f"{metric.label} of at {'most' if least is None else 'least'} {metric.show(level, unit)}: "
    word = tag("b", "reached" if reached else "not reached", cls=tone(reached))
    return join([wanted, word, f", it is {'undefined' if seen is None else metric.show(seen, unit)}"])


def _headline(facts: "RunFacts") -> Iterator[Html]:
    """One tile per metric, with the champion's value and the floor beneath."""
    ours, unit = facts.evaluation, facts.evaluation.unit
    for name in metrics.names(ours.task):
        metric = metrics.get(name)
        seen = ours.metrics.get(name)
        notes = [_sure(metric, facts), *_beside_champion(metric, seen, facts), _floor(metric, facts)]
        yield tile(metric.label, "undefined" if seen is None else metric.show(seen, unit), filter(None, notes))


def _sure(metric: Metric, facts: "RunFacts") -> str:
    """Between what 95 of 100 holdouts of the kind would put it."""
    ours = facts.evaluation
    error = ours.errors.get(metric.name)
    return f"± {metric.show(error * quantile(0.975, ours.blocks), ours.unit)}" if error else ""


def _beside_champion(metric: Metric, seen: float | None, facts: "RunFacts") -> Iterator[str]:
    theirs = facts.champion.metrics.get(metric.name) if facts.champion else None
    if theirs is None:
        return
    shown = f"champion {metric.show(theirs, facts.evaluation.unit)}"
    if facts.champion and facts.champion.rows != facts.evaluation.rows:  # of other rows there is no better or worse
        yield f"{shown} on {facts.champion.rows:,} rows"
        return
    yield shown
    if seen is not None and theirs and metric.unit != "none" and (gain := metric.loss(theirs) - metric.loss(seen)):
        yield f"{100 * abs(gain) / abs(theirs):.0f} % {'better' if gain > 0 else 'worse'}"


def _floor(metric: Metric, facts: "RunFacts") -> str:
    for gate in facts.settings.get("gates") or ():
        most = "within ±" if metric.direction == "zero" else "at most "
        for key, word in (("at_most", most), ("at_least", "at least ")):
            if gate.get("metric") == metric.name and gate.get(key) is not None:
                return f"{word}{metric.show(gate[key], facts.evaluation.unit)}"
    return ""


def _data(facts: "RunFacts") -> Iterator[str]:
    seen, snapshot = facts.validation, facts.snapshot
    columns = f", {len(snapshot.columns)} columns"
    origin = [("Source", identifier(snapshot.source)), ("Snapshot", identifier(snapshot.id) + columns)]
    yield from told(seen, origin)
    trained, held = int(facts.provenance.get("rows", 0)), facts.evaluation.rows
    yield tag("h3", "Split")
    yield tag("p", _split_words(facts.settings.get("split") or {}))
    yield shares([("training", trained), ("held out", held), ("left out", max(seen.accepted - trained - held, 0))])


def _split_words(policy: Mapping[str, Any]) -> str:
    by, holdout = policy.get("by", "random"), policy.get("holdout", "")
    size = f"{100 * holdout:g} %" if isinstance(holdout, float) else str(holdout)
    if by == "time":
        return (
            f"By time: the newest {size} are held out. Training rows whose key is among them are left out,"
            " so that no key stands on both sides."
        )
    unit = "whole groups" + (f" by {policy['group']}" if policy.get("group") else "")
    return f"{'By group: ' + unit if by == 'group' else 'At random, by hash'}: {size} are held out."


def _model(facts: "RunFacts") -> Iterator[str]:
    model: Mapping[str, Any] = facts.settings.get("model") or {}
    tuning = facts.tuning
    tuned = set(tuning.best_params)
    chosen = {**(model.get("params") or {}), **tuning.best_params}
    yield pairs([("Family", identifier(str(model.get("family", "unknown")))), ("Search", tuning.sentence)])
    rows = [
        (identifier(name), _parameter(value), "found by the search" if name in tuned else "set by the project")
        for name, value in sorted(chosen.items())
    ]
    left = table(("Parameter", "Value", ""), rows, numbers=(1,)) or tag(
        "p", "Its parameters are the family's defaults."
    )
    caption = f"Measured on {tuning.validation}. Trial 0 has the project's own parameters."
    yield left if tuning.skipped else beside(left, figure(_search_title(facts), trials_plot(tuning), caption))
    if not tuning.skipped:
        yield tag("h3", "Trials")
        yield table(("Trial", "Began, UTC", "Seconds", "Value"), [_trial(facts, one) for one in tuning.trials])


def _trial(facts: "RunFacts", trial: Trial) -> tuple[str, ...]:
    began = "" if trial.started is None else f"{trial.started:%Y-%m-%d %H:%M:%S}"
    metric = metrics.get(facts.tuning.metric)
    value = trial.failure if trial.value is None else metric.show(trial.value, facts.tuning.unit)
    return str(trial.number), began, f"{trial.seconds:.1f}", value


def _search_title(facts: "RunFacts") -> str:
    return f"{metrics.get(facts.tuning.metric).label} by trial"


def _parameter(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _gates(facts: "RunFacts") -> Iterator[str]:
    decision = facts.decision
    if facts.champion_version is None:
        yield tag("p", "There was no champion to compare with.", cls="soft")
    elif facts.champion is None:
        yield tag("p", f"The champion, version {facts.champion_version}, cannot be asked: {decision.unasked}.")
    else:
        rows = f"was asked about the same {facts.champion.rows:,} rows."
        yield tag("p", f"The champion, version {facts.champion_version}, {rows}", cls="soft")
    if decision.compared:
        yield tag("p", f"{decision.compared[:1].upper()}{decision.compared[1:]}.")
    if decision.narrowed:
        yield tag("p", "The new contract refuses, or no longer uses, what the champion's took:")
        yield tag("ul", *(tag("li", phrase) for phrase in decision.narrowed[:LISTED]))
    if (more := len(decision.narrowed) - LISTED) > 0:
        yield tag("p", f"And {more:,} more, which decision.json of the run lists.", cls="soft")
    if decision.uses > 1:
        yield tag("p", f"These held-out rows have judged {decision.uses:,} candidates, this one included.", cls="soft")
    if not decision.checks:
        yield tag("p", "The project defines no gates.")
    checked = [_check_row(check, facts.evaluation.unit) for check in (*decision.checks, *decision.guards)]
    yield table(("Verdict", "What was found", "Candidate", "Bar"), checked, numbers=(2, 3), aside=(2, 3))


def _check_row(check: "Check", unit: str) -> tuple[str, ...]:
    metric = metrics.get(check.metric)
    seen, level = (None if value is None else metric.show(value, unit) for value in (check.seen, check.bar))
    return (
        badge("passes" if check.passed else "fails", tone(check.passed)),
        check.sentence,
        seen or "undefined",
        level or "none",
    )


def _pictures(facts: "RunFacts") -> Iterator[str]:
    made = evaluation_plots(facts.evaluation)
    lead = metrics.leading(facts.evaluation.task).name
    yield tag("p", f"{facts.evaluation.rows:,} held-out rows: {facts.evaluation.show(lead)}.", cls="soft")
    yield from (tag("p", words) for words in besides(facts.evaluation))
    yield figures(figure(PICTURES[name][0], svg, PICTURES[name][1]) for name, svg in made.items() if name in PICTURES)
    yield from classes_table(facts.evaluation)
    yield from _courses(made)
    if facts.evaluation.error is not None:
        unit = facts.evaluation.unit
        given = facts.evaluation.error.quantiles
        shown = {q: with_unit(number(value), unit) for q, value in given.items()}
        yield tag(
            "p",
            f"Half of the errors lie between {shown['p25']} and {shown['p75']},"
            f" nine in ten between {shown['p05']} and {shown['p95']}.",
        )


def _courses(made: Mapping[str, Html]) -> Iterator[str]:
    """The columns that are worth most, each with its course."""
    drawn = {name.removeprefix(COURSE): svg for name, svg in made.items() if name.startswith(COURSE)}
    if drawn:
        yield tag("h3", "By column")
        yield tag("p", "The mean answer if all rows had one value in a column and kept the others.", cls="soft")
        yield figures(figure(name, svg, "") for name, svg in drawn.items())

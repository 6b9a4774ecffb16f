"""A rollout as one HTML page that needs nothing else: decision in words, split, evidence against its bars, timeline."""

import math
from collections.abc import Iterator, Sequence

from serving.pages.charts import timeline
from serving.pages.html import (
    Html,
    Tone,
    badge,
    figure,
    figures,
    join,
    keys,
    meter,
    page,
    row,
    section,
    strip,
    table,
    tag,
    tone,
    verdict,
)
from serving.pages.words import time_of_day
from serving.rollout.controller.persistence import Record
from serving.rollout.evidence.evidence import GateEvidence
from serving.rollout.evidence.harm import SRM_THRESHOLD
from serving.rollout.state import RolloutState
from serving.rollout.telling.explain import RolloutStatus, explain

REFRESH_S = 3
_TONE: dict[str, Tone] = {
    "succeeded": "good",
    "rolled back": "bad",
    "rollback": "bad",
    "drain": "bad",
    "remove": "bad",
    "paused": "wait",
}
_ENDED = ("succeeded", "rolled back")


def rollout_page(state: RolloutState, status: RolloutStatus, records: Sequence[Record], now: float) -> str:
    """The page of *state* at *now* (seconds since 1970); it loads itself again while the rollout is live.

    *records* is the journal of this rollout, oldest first.
    """
    inputs = (tag("li", line) for line in explain(state, status.evidence))
    live = status.phase not in _ENDED
    body = [
        *_head(status),
        section("Split of requests", *_split(status)),
        section("Timeline", figures(_timeline(status, records, now))),
        *_gates(status, *_judged(status, records)),
        section("Other checks", table((), _checks(status))),
        section("Decisions", tag("p", "UTC, newest first.", cls="note"), table((), _journal(records))),
        tag("details", tag("summary", "Inputs of the formulas"), tag("ul", *inputs)),
    ]
    foot = f"rollout {status.id} · as of {time_of_day(now)} UTC" + (" · the page loads itself again" if live else "")
    title = f"{status.candidate} {status.phase}"
    about = status.sentences[0] if status.sentences else title
    return page(title, about, body, foot=foot, refresh_s=REFRESH_S if live else 0)


def _head(status: RolloutStatus) -> Iterator[Html]:
    colour = _TONE.get(status.phase, "")
    against = f"beside {status.stable}" if status.stable else "the first version"
    phase = f"{status.phase} · {status.pause}" if status.pause else status.phase
    first, *rest = status.sentences or ("",)
    if rest and status.phase not in _ENDED and (status.pause or status.outcome):
        first, rest = rest[0], [first, *rest[1:]]
    if status.phase in ("step", "paused"):
        rest.append(f"Step {status.step + 1} of {status.steps}.")
    yield tag("p", f"{status.service} · rollout", cls="over")
    yield tag("h1", status.candidate, " ", tag("small", against), " ", badge(phase, colour))
    yield verdict(colour, tag("p", first[:1].upper() + first[1:]), *(tag("p", sentence) for sentence in rest))


def _split(status: RolloutStatus) -> Iterator[Html]:
    names = [name for name in (status.candidate, status.stable) if name]
    yield keys(names)
    given = (
        ("configured", "asked for", status.configured),
        ("observed", "in force in the data plane", status.observed),
        ("realized", "as this step's requests fell", status.realized),
    )
    rows = []
    for name, words, shares in given:
        seen = [(shares or {}).get(one, 0.0) for one in names]
        bar, figure = (strip(seen), f"{seen[0]:.3g} %") if shares else (tag("span", "no figure yet", cls="soft"), "")
        rows.append((join([tag("b", name), " ", tag("span", words, cls="soft")]), bar, tag("b", figure)))
    yield table((), rows, numbers=(2,))


def _timeline(status: RolloutStatus, records: Sequence[Record], now: float) -> Iterator[Html]:
    if not records:
        return
    span = (records[0].at, now if status.phase not in _ENDED else records[-1].at)
    weights = [(one.at, one.done["weight"] / 10) for one in records if one.done and "weight" in one.done]
    shares = [(span[0], 0.0), *weights, (span[1], weights[-1][1] if weights else 0.0)]
    marks = [(record.at, _mark(record)) for record in records if _mark(record)]
    title = "The candidate's share"
    yield figure(title, timeline(title, shares, span, top=100.0, unit="%", stairs=True, marks=marks))
    evidence = [(one.at, _log10(one.decision["evidence"]["log_e"])) for one in records if one.decision]
    bar = math.log10(status.threshold)
    top = max([bar * 1.25, *(min(value, bar * 3) for _, value in evidence)])
    title, limit = "Evidence of harm E", (bar, f"roll back at {status.threshold:g}")
    yield figure(title, timeline(title, evidence, span, top=top, unit="log scale from 1", powers=True, limit=limit))


def _judged(status: RolloutStatus, records: Sequence[Record]) -> tuple[Sequence[GateEvidence], str]:
    """The gates to show and the words for them: past the last step its certificate, since no more traffic waits."""
    if status.step >= status.steps:
        for taken in (record.decision for record in reversed(records)):
            if taken and taken["verdict"] == "move" and taken["state"]["phase"] == "step":
                gates = [GateEvidence.model_validate(gate) for gate in taken["evidence"]["gates"]]
                return gates, "As they stood when the last step was certified."
    return status.evidence.gates, "This step; evidence over the whole rollout."


def _gates(status: RolloutStatus, gates: Sequence[GateEvidence], words: str) -> Iterator[Html]:
    head = ("Gate", "Candidate", "Stable", "Could newly fail, against rho", "Evidence of harm", "")
    rows = [*(_gate(gate, status) for gate in gates), _overall(status)]
    yield section("Gates", tag("p", words, cls="note"), table(head, rows))


def _gate(gate: GateEvidence, status: RolloutStatus) -> Html:
    colour, words = tone(True), "certified"
    if not gate.required:
        colour, words = "", "watched"
    elif not gate.holds:
        colour, words = "wait", "not certified" if status.phase in _ENDED else "not yet certified"
    seen = gate.canary[0] > 0
    figure = f"{gate.excess:.2%} of {status.rho:.2%}" if seen else "no request in this step yet"
    excess = meter(gate.excess / (2 * status.rho) if seen else 0.0, 0.5, colour, figure)
    name = tag("b", gate.name)
    counts = _counted(gate.canary), _counted(gate.stable)
    return row([name, *counts, excess, _harm_meter(gate.log_e, status), badge(words, colour)])


def _overall(status: RolloutStatus) -> Html:
    harmful = status.evidence.harmful
    words = join(["at ", _e(status.evidence.log_threshold), " the candidate goes home, at any look"])
    return tag(
        "tr",
        tag("td", tag("b", "together")),
        tag("td", words, colspan=3),
        tag("td", _harm_meter(status.evidence.log_e, status)),
        tag("td", badge("harm" if harmful else "no harm shown", tone(not harmful))),
        cls="sum",
    )


def _harm_meter(log_e: float, status: RolloutStatus) -> Html:
    share = max(0.0, log_e) / status.evidence.log_threshold
    colour: Tone = "bad" if share >= 1 else "good" if share < 0.5 else "wait"
    return meter(share / 1.25, 0.8, colour, join(["E = ", _e(log_e), " of ", _e(status.evidence.log_threshold)]))


def _checks(status: RolloutStatus) -> Iterator[Sequence[str]]:
    """(name, what was seen, verdict); what is only told has no verdict."""
    seen = status.evidence
    srm = f"E = {_e(max(seen.srm, seen.label_srm))}, verdicts are suspended at {SRM_THRESHOLD:g}"
    yield "requests arrive as split", Html(srm), _holds(not seen.mismatched)
    shift = f"E = {_e(seen.shift)}, asked about at {_e(seen.log_threshold)}; stability index {seen.stability:.3f}"
    yield "predictions as before", Html(shift), _holds(not seen.shifted)
    newly = f"{status.newly_failed:.1f} failures beyond stable's rate ({status.canary_errors} in all)"
    yield "error budget", f"{newly}, at most {status.error_budget}", _holds(not seen.over_budget)
    yield "error objective at the end", "breached" if seen.guard else "kept, or not yet tested", _holds(not seen.guard)
    if seen.shadow[0]:
        words = f"{seen.shadow[1]} of {seen.shadow[0]} copies answered differently, at most {seen.shadow_bound:.2%}"
        yield "paired answers in shadow", words, ""
    if status.requests_needed is not None and status.phase == "step":
        yield "requests until the next increase", f"about {status.requests_needed:,}", ""


def _holds(good: bool) -> Html:
    return badge("holds" if good else "fails", tone(good))


def _journal(records: Sequence[Record]) -> Iterator[Sequence[str]]:
    """What was decided and said, newest first; of the decisions to wait only the last."""
    told = [record for record in records if record.kind in ("decide", "command", "alert") and _said(record)]
    for position, record in enumerate(reversed(told)):
        word = record.decision["verdict"] if record.decision else record.kind
        if position == 0 or word != "hold":
            yield time_of_day(record.at), tag("span", word, cls=_verdict_tone(record)), _said(record)


def _mark(record: Record) -> str:
    if record.decision and record.decision["verdict"] in ("rollback", "pause", "finish", "reverse"):
        return record.decision["verdict"]
    return record.order["command"] if record.order else ""


def _said(record: Record) -> str:
    if order := record.order:
        who, reason = order.get("who", "somebody"), order.get("reason") or "no reason given"
        return f"{order['command']} by {who}: {reason}"
    return str(record.body.get("sentence", ""))


def _verdict_tone(record: Record) -> Tone:
    verdict = record.decision["verdict"] if record.decision else ""
    if record.decision and verdict == "finish":
        return tone(record.decision["state"]["phase"] != "remove")
    tones: dict[str, Tone] = {"rollback": "bad", "reverse": "bad", "pause": "wait"}
    return tones.get(verdict, "")


def _counted(counts: tuple[int, int]) -> Html:
    n, events = counts
    rate = tag("span", f"{events / n:.2%}", cls="soft") if n else ""
    return tag("span", f"{events:,} of {n:,} ", rate, cls="nowrap")


def _e(log_e: float) -> Html:
    """An E-value as people read it; *log_e* is natural."""
    if log_e < math.log(1e5):
        value = math.exp(log_e)
        return Html(f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value > 1e-3 else "0.000")
    return Html(f"10<sup>{_log10(log_e):.0f}</sup>")


def _log10(log_e: float) -> float:
    return log_e / math.log(10)

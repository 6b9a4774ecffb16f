"""A rollout as one HTML page that needs nothing else: decision in words, split, evidence against its bars, timeline."""

import math
import time
from collections.abc import Iterable, Sequence
from html import escape

from serving.rollout.controller.persistence import Record
from serving.rollout.evidence.evidence import SRM_THRESHOLD, GateEvidence
from serving.rollout.telling.charts import Point, chart, meter, stacked
from serving.rollout.telling.explain import RolloutStatus
from serving.rollout.telling.style import STYLE

REFRESH_S = 3
_GOOD, _BAD, _WAIT = "good", "bad", "wait"
_TONE = {
    "succeeded": _GOOD,
    "rolled back": _BAD,
    "rollback": _BAD,
    "drain": _BAD,
    "remove": _BAD,
    "paused": _WAIT,
}  # fmt: skip
_ENDED = ("succeeded", "rolled back")


def page(status: RolloutStatus, explained: Sequence[str], records: Sequence[Record], now: float) -> str:
    """The page at *now* (seconds since 1970); it loads itself again while the rollout is live.

    Args:
        explained: the lines of ``explain``. records: the journal of this rollout, oldest first.
    """
    live = status.phase not in _ENDED
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if live else ""
    title = f"{status.candidate} {status.phase}"
    parts = [
        _head(status),
        _shares(status),
        _timeline(status, records, now),
        _gates(status, *_judged(status, records)),
        _checks(status),
        _journal(records),
        _inputs(explained),
        f"<footer>rollout {escape(status.id)} &middot; as of {_clock(now)} UTC"
        f"{' &middot; the page loads itself again' if live else ''}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{refresh}<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _head(status: RolloutStatus) -> str:
    tone = _TONE.get(status.phase, "")
    where = f"step {status.step + 1} of {status.steps}" if status.phase in ("step", "paused") else ""
    pause = f" &middot; {escape(status.pause)}" if status.pause else ""
    against = f"beside {escape(status.stable)}" if status.stable else "the first version"
    first, *rest = status.sentences or ("",)
    if rest and status.phase not in _ENDED and (status.pause or status.outcome):
        first, rest = rest[0], [first, *rest[1:]]
    more = "".join(f"<p>{escape(sentence)}</p>" for sentence in rest)
    return (
        f'<header><div class="over">{escape(status.service)} &middot; rollout</div>'
        f"<h1>{escape(status.candidate)} <small>{against}</small>"
        f'<span class="badge {tone}">{escape(status.phase)}{pause}</span></h1>'
        f'<section class="decision {tone}"><p class="lead">{escape(first[:1].upper() + first[1:])}</p>{more}'
        f'<p class="quiet">{escape(where)}</p></section></header>'
    )


def _shares(status: RolloutStatus) -> str:
    rows = [
        ("configured", "asked for", status.configured),
        ("observed", "in force in the data plane", status.observed),
        ("realized", "as this step's requests fell", status.realized or None),
    ]
    bars = "".join(
        f'<div class="share"><div><b>{name}</b><span class="quiet">{words}</span></div>'
        + (stacked(shares, status.candidate) if shares else '<div class="quiet">no figure yet</div>')
        + "</div>"
        for name, words, shares in rows
    )
    legend = f'<span class="key candidate"></span>{escape(status.candidate)}'
    if status.stable:
        legend += f'<span class="key stable"></span>{escape(status.stable)}'
    return f'<section><h2>Split of requests<span class="legend">{legend}</span></h2>{bars}</section>'


def _timeline(status: RolloutStatus, records: Sequence[Record], now: float) -> str:
    if not records:
        return ""
    begin, end = records[0].at, now if status.phase not in _ENDED else records[-1].at
    weights = [Point(begin, 0.0), *(_weights(records)), Point(end, _final_weight(records))]
    evidence = [Point(record.at, _log10(record.body["evidence"]["log_e"])) for record in _decisions(records)]
    bar = math.log10(status.threshold)
    marks = [(record.at, _mark(record)) for record in records if _mark(record)]
    upper = chart(weights, (begin, end), top=100.0, unit=" %", stairs=True, marks=marks, label="candidate's share")
    top = max([bar * 1.25, *(min(point.y, bar * 3) for point in evidence)])
    lower = chart(
        [Point(point.x, min(max(point.y, 0.0), top)) for point in evidence], (begin, end), top=top, unit="",
        bar=(bar, f"roll back at {status.threshold:g}"), label="evidence of harm E (log scale from 1)", powers=True,
    )  # fmt: skip
    return f"<section><h2>Timeline</h2>{upper}{lower}</section>"


def _judged(status: RolloutStatus, records: Sequence[Record]) -> tuple[Sequence[GateEvidence], str]:
    """The gates to show and the words for them: past the last step its certificate, since no more traffic waits."""
    if status.step >= status.steps:
        for record in reversed(_decisions(records)):
            body = record.body
            if body["verdict"] == "move" and body["state"]["phase"] == "step":
                gates = [GateEvidence.model_validate(gate) for gate in body["evidence"]["gates"]]
                return gates, "as they stood when the last step was certified"
    return status.evidence.gates, "this step; evidence over the whole rollout"


def _gates(status: RolloutStatus, gates: Sequence[GateEvidence], words: str) -> str:
    head = (
        "<tr><th>gate</th><th>candidate</th><th>stable</th><th>could newly fail, against rho</th>"
        "<th>evidence of harm</th><th></th></tr>"
    )
    rows = "".join(_gate(gate, status) for gate in gates)
    return (
        f'<section><h2>Gates<span class="legend">{words}</span></h2>'
        f'<div class="wide"><table>{head}{rows}{_overall(status)}</table></div></section>'
    )


def _gate(gate: GateEvidence, status: RolloutStatus) -> str:
    ended = status.phase in _ENDED
    tone, words = (_GOOD, "certified") if gate.holds else (_WAIT, "not certified" if ended else "not yet certified")
    if not gate.required:
        tone, words = "", "watched"
    none = gate.canary[0] == 0
    excess = meter(0.0 if none else gate.excess / (2 * status.rho), 0.5, tone if gate.required else "")
    figure = "no request in this step yet" if none else f"{gate.excess:.2%} of {status.rho:.2%}"
    return (
        f"<tr><td><b>{escape(gate.name)}</b></td><td>{_counted(gate.canary)}</td><td>{_counted(gate.stable)}</td>"
        f"<td>{excess}{figure}</td>"
        f"<td>{_harm_meter(gate.log_e, status)}</td>"
        f'<td><span class="badge {tone}">{words}</span></td></tr>'
    )


def _overall(status: RolloutStatus) -> str:
    harmful = status.evidence.harmful
    badge = '<span class="badge bad">harm</span>' if harmful else '<span class="badge good">no harm shown</span>'
    return (
        f'<tr class="sum"><td><b>together</b></td><td colspan="3">at {_e(status.evidence.log_threshold)} the candidate '
        f"goes home, at any look</td><td>{_harm_meter(status.evidence.log_e, status)}</td><td>{badge}</td></tr>"
    )


def _harm_meter(log_e: float, status: RolloutStatus) -> str:
    share = max(0.0, log_e) / status.evidence.log_threshold
    tone = _BAD if share >= 1 else _GOOD if share < 0.5 else _WAIT
    return f"{meter(share / 1.25, 0.8, tone)}E = {_e(log_e)} of {_e(status.evidence.log_threshold)}"


def _checks(status: RolloutStatus) -> str:
    seen = status.evidence
    srm = max(seen.srm, seen.label_srm)
    lines = [
        (
            "requests arrive as split",
            f"E = {_e(srm)}, verdicts are suspended at {SRM_THRESHOLD:g}",
            not seen.mismatched,
        ),
        (
            "predictions as before",
            f"E = {_e(seen.shift)}, asked about at {_e(seen.log_threshold)}; stability index {seen.stability:.3f}",
            not seen.shifted,
        ),
        (
            "error budget",
            f"{status.newly_failed:.1f} failures beyond stable's rate ({status.canary_errors} in all), "
            f"at most {status.error_budget}",
            not seen.over_budget,
        ),
        ("error objective at the end", "breached" if seen.guard else "kept, or not yet tested", not seen.guard),
    ]
    if seen.shadow[0]:
        words = f"{seen.shadow[1]} of {seen.shadow[0]} copies answered differently, at most {seen.shadow_bound:.2%}"
        lines.append(("paired answers in shadow", words, True))
    if status.requests_needed is not None and status.phase == "step":
        lines.append(("requests until the next increase", f"about {status.requests_needed:,}", True))
    cells = "".join(
        f'<li><span class="dot {_GOOD if good else _BAD}"></span><b>{escape(name)}</b><span>{words}</span></li>'
        for name, words, good in lines
    )
    return f'<section><h2>Other checks</h2><ul class="checks">{cells}</ul></section>'


def _journal(records: Sequence[Record]) -> str:
    told = [record for record in records if record.kind in ("decide", "command", "alert") and _said(record)]
    kept = [r for i, r in enumerate(told) if i == len(told) - 1 or r.body.get("verdict") != "hold"]
    rows = "".join(
        f'<li><time>{_clock(record.at)}</time><span class="verdict {_verdict_tone(record)}">'
        f"{escape(str(record.body.get('verdict') or record.kind))}</span><span>{escape(_said(record))}</span></li>"
        for record in reversed(kept)
    )
    return f'<section><h2>Decisions<span class="legend">UTC, newest first</span></h2><ol>{rows}</ol></section>'


def _inputs(explained: Sequence[str]) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in explained)
    return f"<details><summary>Inputs of the formulas</summary><ul>{lines}</ul></details>"


def _weights(records: Iterable[Record]) -> Iterable[Point]:
    for record in records:
        if record.kind == "done" and "weight" in record.body:
            yield Point(record.at, record.body["weight"] / 10)


def _final_weight(records: Sequence[Record]) -> float:
    found = list(_weights(records))
    return found[-1].y if found else 0.0


def _decisions(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.kind == "decide"]


def _mark(record: Record) -> str:
    if record.kind == "decide" and record.body["verdict"] in ("rollback", "pause", "finish", "reverse"):
        return str(record.body["verdict"])
    return str(record.body["command"]) if record.kind == "command" else ""


def _said(record: Record) -> str:
    if record.kind == "command":
        who, reason = record.body.get("who", "somebody"), record.body.get("reason") or "no reason given"
        return f"{record.body['command']} by {who}: {reason}"
    return str(record.body.get("sentence", ""))


def _verdict_tone(record: Record) -> str:
    verdict, phase = record.body.get("verdict"), record.body.get("state", {}).get("phase")
    if verdict == "finish":
        return _BAD if phase == "remove" else _GOOD
    return {"rollback": _BAD, "reverse": _BAD, "pause": _WAIT}.get(str(verdict), "")


def _counted(counts: tuple[int, int]) -> str:
    n, events = counts
    rate = f'<span class="quiet">{events / n:.2%}</span>' if n else ""
    return f"{events:,} of {n:,} {rate}"


def _e(log_e: float) -> str:
    """An E-value as people read it; *log_e* is natural."""
    if log_e < math.log(1e5):
        value = math.exp(log_e)
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value > 1e-3 else "0.000"
    return f"10<sup>{log_e / math.log(10):.0f}</sup>"


def _log10(log_e: float) -> float:
    return log_e / math.log(10)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))

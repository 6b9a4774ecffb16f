"""What a report says beside the holdout's figures: other estimates, what needs no model, and what is answered when."""

from collections.abc import Iterator, Mapping

from components.judging import metrics
from components.judging.evaluation import Evaluation
from components.judging.jackknife import quantile

FEW = 6  # costs that are named


def besides(seen: Evaluation) -> Iterator[str]:
    """A sentence each."""
    if seen.crossed:
        told = _told(seen, seen.crossed, max(seen.blocks, 2))
        yield f"Training rows, each predicted by one of {seen.folds} models that had not seen it: {told}."
    if seen.repeated:
        told = _told(seen, seen.repeated, seen.repeats * seen.folds)
        yield f"Means over the folds of {seen.repeats} deals of the training rows to {seen.folds} folds: {told}."
    lead = metrics.leading(seen.task)
    for rival in seen.rivals.values():
        if lead.name in rival.metrics:
            on = "" if rival.rows == seen.rows else f" on {rival.rows:,} rows"
            yield f"Without a model, {rival.words}: {lead.label} {lead.show(rival.metrics[lead.name], seen.unit)}{on}."
    if seen.threshold is not None:
        yield f"The answer is {seen.classes[-1]} from a probability of {seen.threshold:.4g} on."
    elif seen.costs:
        yield f"The answer is the class that is expected to cost least{_named(seen)}; other errors cost 1."


def _told(seen: Evaluation, figures: Mapping[str, tuple[float, float]], values: int) -> str:
    """*figures* with what they may be off in 95 of 100 cases, given of how many *values* their errors are."""
    sure = quantile(0.975, values)
    known = [(metrics.get(name), value, error) for name, (value, error) in figures.items()]
    return ", ".join(f"{m.label} {m.show(value, seen.unit)} ± {m.show(sure * e, seen.unit)}" for m, value, e in known)


def _named(seen: Evaluation) -> str:
    """The costs that somebody named, dearest first."""
    pairs = [(cost, truth, answer) for truth, row in enumerate(seen.costs) for answer, cost in enumerate(row)]
    named = sorted((-cost, t, a) for cost, t, a in pairs if t != a and cost != 1)
    told = [f"{seen.classes[t]} told as {seen.classes[a]} {-cost:g}" for cost, t, a in named[:FEW]]
    more = f" and {len(named) - FEW} more" if named[FEW:] else ""
    return f": {', '.join(told)}{more}" if told else ""

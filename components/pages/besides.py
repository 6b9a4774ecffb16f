"""What a report says beside the holdout's figures: other estimates, what needs no model, and what is answered when."""

from collections.abc import Iterator

from components.judging import metrics
from components.judging.evaluation import Evaluation
from components.judging.jackknife import quantile


def besides(seen: Evaluation) -> Iterator[str]:
    """A sentence each."""
    if seen.crossed:
        known = [(metrics.get(name), value, error) for name, (value, error) in seen.crossed.items()]
        sure = quantile(0.975, max(seen.blocks, 2))
        told = [
            f"{one.label} {one.show(value, seen.unit)} ± {one.show(sure * e, seen.unit)}" for one, value, e in known
        ]
        yield f"Training rows, each predicted by one of {seen.folds} models that had not seen it: {', '.join(told)}."
    lead = metrics.leading(seen.task)
    for rival in seen.rivals.values():
        if lead.name in rival.metrics:
            on = "" if rival.rows == seen.rows else f" on {rival.rows:,} rows"
            yield f"Without a model, {rival.words}: {lead.label} {lead.show(rival.metrics[lead.name], seen.unit)}{on}."
    if seen.threshold is not None:
        yield f"The answer is {seen.classes[-1]} from a probability of {seen.threshold:.4g} on."

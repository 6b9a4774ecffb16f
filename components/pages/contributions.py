"""Which columns move a model's predictions, as a picture with what its numbers are numbers of."""

import itertools
from collections.abc import Iterator

from components.judging.evaluation import Evaluation
from components.judging.importance import Contributions
from serving.pages import charts
from serving.pages.html import Html, figure, figures, tag

SHOWN = 15  # columns
TITLE = "Mean absolute contribution by column"


def contributions_plot(known: Contributions, seen: Evaluation) -> Html:
    """A bar for each of the columns that move most."""
    unit = seen.unit if known.of == seen.target else ""
    return charts.bars(TITLE, dict(itertools.islice(known.moved.items(), SHOWN)), unit=unit)


def moving(seen: Evaluation) -> Iterator[str]:
    """The picture and how it was made; nothing of an evaluation that does not know."""
    known = seen.contributions
    if known is None:
        return
    more = len(known.moved) - SHOWN
    left = f" {more:,} more move it less." if more > 0 else ""
    way = known.method.partition(" ")[0]
    caption = f"How far each column moves a row away from the mean, {way}; in units of {known.of}.{left}"
    yield tag("p", f"Over {known.rows:,} held-out rows: {known.method}.", cls="soft")
    yield figures([figure(TITLE, contributions_plot(known, seen), caption)])

"""What a model makes of its columns, and how good it is over time, on rows that it has not seen."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from components.data.moments import event_of
from components.judging import metrics
from components.judging.metrics import Values
from components.judging.said import Said
from serving.contract import Column, Contract, Frozen, Matrix
from serving.pages.words import number

ROWS, FEWEST = 2_000, 100  # that are asked about, evenly spaced; fewer of wide tables
CELLS = 200_000_000  # that are scored in all, by which a table of 1,000 columns takes about as long as one of 200
CALL = 4_000_000  # and in one call
SHUFFLES = 3
DRAWN = 4  # columns whose course is drawn
POINTS, UNDER = 20, 300  # values of a column, and rows that each is put into
STRETCHES, FEW = 12, 30  # of time, and rows that one has at least
Score = Callable[[Matrix], Values]


class Worth(Frozen):
    """By how much the leading loss grows when a column's values are dealt anew among the rows.

    Permutation importance: Breiman, "Random forests", 2001; Fisher, Rudin and Dominici, "All models are wrong, but many
    are useful", 2019. Columns that tell the same share what they are worth.

    Attributes:
        loss: the growth, in the unit of the leading metric; at most 0 where nothing is lost.
        spread: standard deviation over the deals.
    """

    column: str
    loss: float
    spread: float


class Course(Frozen):
    """The mean answer when every row has one value in a column: partial dependence (Friedman 2001).

    Attributes:
        values: as people read them, ascending, or all words.
        answers: of numbers in the target's unit, or the mean probability of ``of``.
    """

    column: str
    values: tuple[str, ...]
    answers: tuple[float, ...]
    of: str = ""


class Contributions(Frozen):
    """How far columns move a model's numbers away from their mean: mean absolute Shapley values.

    Attributes:
        method: of ``serving.explaining``; of: in words, what the numbers are numbers of.
        rows: how many were explained, evenly from first to last.
        moved: per slot the mean absolute contribution, the largest first.
    """

    method: str
    of: str
    rows: int
    moved: dict[str, float]


class Stretch(Frozen):
    """The rows of one stretch of event time, its first day in ISO 8601, and the metrics that are defined there."""

    since: str
    rows: int
    metrics: dict[str, float] = Field(default_factory=dict)


def worths(score: Score, matrix: Matrix, target: Values, contract: Contract, seed: int = 0) -> tuple[Worth, ...]:
    """Of every column of the coded *matrix*, the one that is worth most first.

    Args:
        score: a number for each row, or a probability for each row and class.
    """
    most = max(FEWEST, CELLS // (SHUFFLES * max(matrix.shape[1], 1) ** 2))
    rows, random = _some(len(target), min(ROWS, most)), np.random.default_rng(seed)
    seen, truth = matrix[rows], target[rows]
    if not len(truth):
        return ()
    base, found, slots = _loss(contract, truth, score(seen)), list[Worth](), list(contract.slots)
    places = np.repeat(np.arange(len(slots)), SHUFFLES)
    dealt = [(int(place), seen[random.permutation(len(seen)), place]) for place in places]
    told = np.array([_loss(contract, truth, one) - base for one in _answers(score, seen, dealt)])
    for name, losses in zip(slots, told.reshape(-1, SHUFFLES), strict=True):
        if np.isfinite(losses).all():
            found.append(Worth(column=name, loss=float(np.mean(losses)), spread=float(np.std(losses))))
    return tuple(sorted(found, key=lambda one: -one.loss))


def courses(score: Score, matrix: Matrix, contract: Contract, names: tuple[str, ...]) -> Iterator[Course]:
    """Of the columns *names*, where a column has two values or more."""
    rows = matrix[_some(len(matrix), UNDER)]
    slots = list(contract.slots)
    for name in names:
        place, column = slots.index(name), contract.slots[name]
        values = _values(matrix[:, place], column)
        if len(values) < 2:
            continue
        said = _answers(score, rows, [(place, np.full(len(rows), value)) for value in values])
        answers = tuple(float(one.mean() if one.ndim == 1 else one[:, -1].mean()) for one in said)
        of = contract.target.classes[-1] if contract.target.classes else ""
        yield Course(column=name, values=tuple(_word(one, column) for one in values), answers=answers, of=of)


def stretches(rows: pl.DataFrame, contract: Contract, target: Values, said: Said) -> Iterator[Stretch]:
    """As many of equal size as have enough rows, the oldest first; none where no event time is known."""
    if contract.event_time is None or contract.event_time not in rows.columns:
        return
    when = event_of(rows, contract)
    order = when.arg_sort(nulls_last=True).to_numpy()[: len(when) - when.null_count()]
    parts = min(STRETCHES, len(order) // FEW)
    for part in np.array_split(order, parts) if parts > 1 else ():
        found = metrics.compute(contract.task, target[part], said[part])
        known = {name: value for name, value in found.items() if np.isfinite(value)}
        yield Stretch(since=str(when[int(part[0])].date()), rows=len(part), metrics=known)


def _some(rows: int, most: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, max(rows - 1, 0), min(most, rows)).round().astype(np.intp))


def _loss(contract: Contract, target: Values, said: Values) -> float:
    metric = metrics.leading(contract.task)
    return metric.loss(metrics.compute(contract.task, target, said)[metric.name])


def _answers(score: Score, matrix: Matrix, changes: Sequence[tuple[int, Values]]) -> Iterator[Values]:
    """What is said of *matrix* with other values in one place, for each of *changes*.

    Several at a time, since a model without a fast form costs most for being asked at all.
    """
    at_once = max(1, CALL // max(matrix.size, 1))
    for first in range(0, len(changes), at_once):
        part = changes[first : first + at_once]
        changed = np.tile(matrix, (len(part), 1))
        for turn, (place, values) in enumerate(part):
            changed[turn * len(matrix) : (turn + 1) * len(matrix), place] = values
        yield from np.split(score(changed), len(part))


def _values(cells: Values, column: Column) -> Values:
    """Those of a category that occur, or as many quantiles as are drawn."""
    known = cells[np.isfinite(cells)]
    if column.type == "category":
        return np.unique(known[known < len(column.values)])[:POINTS]
    return np.unique(np.quantile(known, np.linspace(0.02, 0.98, POINTS), method="nearest")) if len(known) else known


def _word(value: float, column: Column) -> str:
    if column.type == "category":
        return column.values[int(value)]
    if column.type == "bool":
        return "true" if value else "false"
    if column.type == "datetime":
        return datetime.fromtimestamp(value, UTC).date().isoformat()
    return number(value)

"""Columns that know the answer: one that nearly is the target, several that add up to it, and what is known later."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import rankdata
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from components.drafting import names
from components.drafting.doubts import LEFT_OUT, Doubt
from components.drafting.look import ColumnLook, TableLook
from components.drafting.roles import Roles, class_words, moments

Values = npt.NDArray[np.float64]
SAMPLE, LEAST = 20_000, 60  # rows that are looked at, and that are needed
LEAVES = 64  # of the tree that asks one column
NEARLY = 0.97  # of the target's ranks that one column explains, or of its classes that it tells, each weighed alike
SUSPECT = 0.85  # the same for a column whose name says that it is known later
EXACT = 0.9999  # of the target that numbers together explain
LATER = 0.95  # share of rows in which a moment lies after the event
MOST_TOGETHER = 60  # columns that are asked together


def of_target(table: TableLook, roles: Roles, inputs: Sequence[ColumnLook]) -> Iterator[Doubt]:
    """Doubts about *inputs*, those left that may go into the model."""
    target = table[str(roles.target.name)]
    codes = target_codes(table, target, roles)
    rows = _sample(codes)
    if len(rows) < LEAST:
        return
    told = set[str]()
    for column in inputs:
        for doubt in _alone(column, codes, rows, roles):
            told.add(column.name)
            yield doubt
    for column in inputs:
        if column.name not in told:
            yield from _later(column, table, roles)
    if not roles.classes:
        free = [one for one in inputs if one.numeric and one.name not in told and one.missing < 0.1 * one.rows]
        yield from _together(free[:MOST_TOGETHER], codes, rows)


def target_codes(table: TableLook, target: ColumnLook, roles: Roles) -> Values:
    """(n_rows,) the target as numbers: themselves, or the classes' places; NaN where it is missing."""
    if not roles.classes:
        numbers: Values = target.values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return numbers
    words = class_words(table.frame[target.name], target)
    known = {name: float(place) for place, name in enumerate(roles.classes)}
    found = words.replace_strict(known, default=None, return_dtype=pl.Float64)
    places: Values = found.fill_null(float("nan")).to_numpy()
    return places


def _sample(codes: Values) -> npt.NDArray[np.intp]:
    rows = np.flatnonzero(np.isfinite(codes))
    return np.random.default_rng(0).permutation(rows)[:SAMPLE]


def _alone(column: ColumnLook, codes: Values, rows: npt.NDArray[np.intp], roles: Roles) -> Iterator[Doubt]:
    measure = told_by(column, codes, rows, classes=bool(roles.classes))
    after = names.suggests_afterwards(column.name)
    if measure >= NEARLY:
        what = "it alone tells the classes apart in" if roles.classes else "it alone gives the target's order by"
        yield Doubt("leak", (column.name,), f"{what} {measure:.1%}, as if it were made from it", LEFT_OUT)
    elif after and measure >= SUSPECT:
        words = f"its name says that it is known afterwards, and it tells {measure:.0%} of the target"
        yield Doubt("leak", (column.name,), words, LEFT_OUT)


def told_by(column: ColumnLook, codes: Values, rows: npt.NDArray[np.intp], *, classes: bool) -> float:
    """How much of the target *column* tells by itself on rows that were not looked at: 0, as much as chance, to 1.

    Of a number it is R2 of the target's ranks, which a monotone transform does not change; of classes the mean share
    of each that is told.
    """
    half = len(rows) // 2
    fitting, judging = rows[:half], rows[half:]
    x = _codes(column, codes, fitting)
    y = codes if classes else np.empty_like(codes)
    if classes:
        tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, class_weight="balanced", random_state=0)
    else:
        y[rows] = rankdata(codes[rows]) / len(rows)
        tree = DecisionTreeRegressor(max_leaf_nodes=LEAVES, random_state=0)
    found = tree.fit(x[fitting, None], y[fitting]).predict(x[judging, None])
    truth = y[judging]
    if not classes:
        return 1.0 - float(((truth - found) ** 2).sum() / (((truth - truth.mean()) ** 2).sum() or 1.0))
    shares = [float((found[truth == one] == one).mean()) for one in np.unique(truth) if (truth == one).sum() >= 5]
    return float(np.mean(shares)) if len(shares) > 1 else 0.0


def _codes(column: ColumnLook, codes: Values, fitting: npt.NDArray[np.intp]) -> Values:
    """(n_rows,) *column* as numbers, words in the order of the target's mean among *fitting*; missing below all."""
    values = column.values
    if values.dtype == pl.Datetime:
        values = values.cast(pl.Int64)
    if values.dtype != pl.String:
        numbers: Values = values.cast(pl.Float64).to_numpy()
        least = float(np.nanmin(numbers)) if np.isfinite(numbers).any() else 0.0
        return _places(np.where(np.isnan(numbers), least - 1.0 - abs(least), numbers))
    words = values.fill_null("\0missing")
    seen = pl.DataFrame({"word": words[fitting], "code": codes[fitting]}).group_by("word").agg(pl.col("code").mean())
    known = dict(seen.iter_rows())
    usual = float(np.mean(codes[fitting]))
    return _places(words.replace_strict(known, default=usual, return_dtype=pl.Float64).to_numpy())


def _places(numbers: Values) -> Values:
    """Their order, which is cut as they are, and a tree can hold all of it in float32."""
    places: Values = np.unique(numbers, return_inverse=True)[1].astype(np.float64)
    return places


def _later(column: ColumnLook, table: TableLook, roles: Roles) -> Iterator[Doubt]:
    """What lies after the event, or says by its name that it does."""
    if column.guess == "datetime" and roles.event.name is not None:
        event = moments(table, roles.event)
        both = (column.values > event).drop_nulls()
        if len(both) and float(both.mean() or 0.0) >= LATER:
            words = f"it lies after {roles.event.name} in {float(both.mean() or 0.0):.0%} of the rows"
            yield Doubt("known afterwards", (column.name,), words, LEFT_OUT)
            return
    if names.suggests_afterwards(column.name):
        yield Doubt("known afterwards", (column.name,), "its name says that it is known after the target", LEFT_OUT)


def _together(columns: Sequence[ColumnLook], codes: Values, rows: npt.NDArray[np.intp]) -> Iterator[Doubt]:
    """Numbers that add up to the target, or multiply to it."""
    if len(columns) < 2:
        return
    matrix = np.vstack([one.values.cast(pl.Float64).to_numpy()[rows] for one in columns]).T
    full = np.isfinite(matrix).all(axis=1)
    x, y = matrix[full], codes[rows][full]
    if len(x) < max(LEAST, 3 * len(columns)):
        return
    if names_of := _exact(x, y):
        yield _sum([columns[place].name for place in names_of], "add up to the target")
    elif (y > 0).all():
        positive = np.flatnonzero((x > 0).all(axis=0))
        if len(positive) > 1 and (names_of := _exact(np.log(x[:, positive]), np.log(y))):
            factors = [columns[positive[place]] for place in names_of]
            made = max(factors, key=lambda one: one.distinct)  # a quotient has more digits than what it is made of
            others = " and ".join(one.name for one in factors if one is not made)
            words = f"with {others} it multiplies to the target, in every row"
            yield Doubt("leak", (made.name,), words, LEFT_OUT)


def _sum(columns: Sequence[str], words: str) -> Doubt:
    return Doubt("leak", tuple(columns), f"they {words}, in every row", LEFT_OUT)


def _exact(x: Values, y: Values) -> list[int]:
    """The places of the columns that matter where *x* explains *y* but for rounding; none where it does not."""
    half = len(x) // 2
    mean, scale = x[:half].mean(axis=0), x[:half].std(axis=0)
    z = np.divide(x - mean, scale, out=np.zeros_like(x), where=scale > 0)
    z = np.column_stack([z, np.ones(len(z))])
    weights = np.linalg.lstsq(z[:half], y[:half], rcond=None)[0]
    left = y[half:] - z[half:] @ weights
    if 1.0 - float((left**2).sum() / (((y[half:] - y[half:].mean()) ** 2).sum() or 1.0)) < EXACT:
        return []
    return [int(place) for place in np.flatnonzero(np.abs(weights[:-1]) > 0.05 * (y.std() or 1.0))]

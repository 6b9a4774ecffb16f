"""Whether the rows that arrive still look like the rows a model was trained on, from fixed-bin counts alone.

Both sides are profiles counted into the same bins. Numbers are tested with the two-sample Kolmogorov-Smirnov test on
the cumulated bins, which can only understate distance and significance of the raw values, and is equal to them where
the bin edges separate the values; categories with the chi-square test; shares of missing values, both ways, and of
unknown and out-of-range values, upwards, with Fisher's exact test. A column that was empty in training has no bins to
compare and is told by its missing share alone. All p-values together are corrected by Holm (1979). Large tables make
any difference significant, therefore a column has drifted only when its effect size says so too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from components.watching.drift_tests import change_p, chi_square, cramers_v, holm, ks, psi, rise_p, shares, wasserstein
from components.watching.policy import DriftPolicy
from serving.contract import Frozen
from serving.errors import DataError
from serving.pages.words import number
from serving.profile import CategoryHistogram, Histogram, NumericHistogram, Profile

NONE: Mapping[str, int] = MappingProxyType({})
PREDICTION = "prediction"
TOLD = 4  # columns that a sentence names
RateName = Literal["missing", "unknown", "out of range"]
RateTest = Callable[[int, int, int, int], float]
LABELS = {"ks": "KS", "cramers_v": "V"}


class Rate(Frozen):
    """A share of rows, 0..1, before and now.

    Attributes:
        p_value: chance of a share at least as far away now (unknown, out of range: as high) if nothing had
            changed, corrected for all tests of the report.
        changed: by more than the policy's floor, and not by chance.
    """

    name: RateName
    reference: float
    current: float
    p_value: float
    changed: bool = False


class ColumnDrift(Frozen):
    """One column, or the prediction, before and now.

    Attributes:
        rows: values seen now, without the missing ones.
        effect: of ``statistic``, 0 for equal and 1 for disjoint distributions.
        p_value: of a difference at least this large if nothing had changed, corrected for all tests of the report.
        psi: population stability index, 0 for equal; above 0.25 is usually called a large change.
        wasserstein: how far values moved on average, in units of the reference's range from the first to the last bin
            edge (90 % of its values for twenty bins); None for categories.
        bins, before, now: names of the bins and the share of values in each.
    """

    column: str
    statistic: Literal["ks", "cramers_v"]
    rows: int
    effect: float
    p_value: float
    psi: float
    wasserstein: float | None = None
    moved: bool = False
    rates: tuple[Rate, ...] = ()
    bins: tuple[str, ...] = ()
    before: tuple[float, ...] = ()
    now: tuple[float, ...] = ()

    @property
    def drifted(self) -> bool:
        return self.moved or any(rate.changed for rate in self.rates)

    @property
    def phrase(self) -> str:
        """'interest_rate (KS 0.61)', 'rooms (missing 41 %, was 6 %)'."""
        words = [f"{LABELS[self.statistic]} {self.effect:.2f}"] if self.moved else []
        words += [f"{r.name} {r.current:.1%}, was {r.reference:.1%}" for r in self.rates if r.changed]
        return f"{self.column} ({', '.join(words)})" if words else self.column


class Drift(Frozen):
    """All columns and the prediction, compared with the profile.

    Attributes:
        enough: there are as many rows as the policy asks for; with fewer nothing is called drift.
        not_logged: columns that the prediction log leaves out.
    """

    rows: int
    enough: bool
    columns: tuple[ColumnDrift, ...]
    not_logged: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that did, the largest effect first."""
        return tuple(sorted((c for c in self.columns if c.drifted), key=lambda column: -column.effect))

    @property
    def sentence(self) -> str:
        if not self.enough:
            return f"{self.rows:,} rows are too few to speak of drift"
        if not self.columns:
            return "drift is not judged: the log holds no inputs and no predictions to compare"
        moved = self.drifted
        quiet = f"{len(self.columns) - len(moved)} columns quiet"
        if not moved:
            return f"no drift, {quiet}"
        more = f" and {len(moved) - TOLD} more" if len(moved) > TOLD else ""
        return f"drift: {', '.join(column.phrase for column in moved[:TOLD])}{more}; {quiet}"


def compare(
    reference: Profile,
    current: Profile,
    policy: DriftPolicy,
    out_of_range: Mapping[str, int] = NONE,
    not_logged: Sequence[str] = (),
) -> Drift:
    """Judge *current*, counted into the bins of *reference*.

    Args:
        out_of_range: rows per column whose value was outside of the contract; training rows never are.
        not_logged: columns of *current* that hold nothing because they are not logged.

    Raises:
        DataError: the two were counted into different bins.
    """
    pairs: list[tuple[str, Histogram, Histogram]] = [
        (name, was, current.inputs[name]) for name, was in reference.inputs.items() if name not in not_logged
    ]
    if sum(current.prediction.counts):
        pairs.append((PREDICTION, reference.prediction, current.prediction))
    enough = current.rows >= policy.rows
    raw = [_measure(name, was, now, out_of_range.get(name, 0)) for name, was, now in pairs]
    corrected = iter(holm([p for column in raw for p in (column.p_value, *(rate.p_value for rate in column.rates))]))
    columns = tuple(_judged(column, corrected, policy, enough) for column in raw)
    return Drift(rows=current.rows, enough=enough, columns=columns, not_logged=tuple(not_logged))


def _judged(column: ColumnDrift, corrected: Iterator[float], policy: DriftPolicy, enough: bool) -> ColumnDrift:
    """*column* with its next *corrected* p-values and what they mean."""

    def judge(p_value: float, effect: float, floor: float) -> bool:
        return enough and p_value < policy.alpha and effect > floor

    p_value = next(corrected)
    moved = judge(p_value, column.effect, policy.ks if column.statistic == "ks" else policy.cramers_v)
    rates = []
    for rate in column.rates:
        p_rate = next(corrected)
        effect = rate.current - rate.reference
        changed = judge(p_rate, abs(effect) if rate.name == "missing" else effect, policy.missing)
        rates.append(rate.model_copy(update={"p_value": p_rate, "changed": changed}))
    return column.model_copy(update={"p_value": p_value, "moved": moved, "rates": tuple(rates)})


def _measure(name: str, reference: Histogram, current: Histogram, outside: int) -> ColumnDrift:
    """The column's figures with p-values of single tests; nothing is judged yet."""
    before, now = _bins(reference), _bins(current)
    common = {
        "column": name,
        "rows": sum(now),
        "psi": psi(before, now),
        "rates": _rates(reference, current, outside),
        "bins": _bin_names(reference),
        "before": tuple(shares(before).tolist()),
        "now": tuple(shares(now).tolist()),
    }
    if isinstance(reference, NumericHistogram) and isinstance(current, NumericHistogram):
        if reference.edges == current.edges:
            effect, p_value = ks(reference, current)
            distance = wasserstein(reference, current)
            return ColumnDrift(statistic="ks", effect=effect, p_value=p_value, wasserstein=distance, **common)
    elif _bin_names(reference) == _bin_names(current):
        effect, p_value = cramers_v(before, now), chi_square(before, now)
        return ColumnDrift(statistic="cramers_v", effect=effect, p_value=p_value, **common)
    raise DataError(f"{name}: the two profiles have different bins; count the new rows into the reference's")


def _rates(reference: Histogram, current: Histogram, outside: int) -> tuple[Rate, ...]:
    """The rates that the column has on either side, each with the p-value of its change."""
    before, now = sum(_bins(reference)) + reference.missing, sum(_bins(current)) + current.missing
    counts: list[tuple[RateName, int, int, RateTest]] = [("missing", reference.missing, current.missing, change_p)]
    if isinstance(reference, CategoryHistogram) and isinstance(current, CategoryHistogram):
        counts.append(("unknown", reference.unknown, current.unknown, rise_p))
    elif outside:
        counts.append(("out of range", 0, outside, rise_p))
    return tuple(
        Rate(name=name, reference=was / before, current=here / now, p_value=test(was, before, here, now))
        for name, was, here, test in counts
        if before and now and (was or here)
    )


def _bins(histogram: Histogram) -> Sequence[int]:
    return histogram.counts if isinstance(histogram, NumericHistogram) else (*histogram.counts, histogram.unknown)


def _bin_names(histogram: Histogram) -> tuple[str, ...]:
    if isinstance(histogram, CategoryHistogram):
        return (*histogram.values, "unknown")
    edges = [number(edge) for edge in histogram.edges]
    return ("all",) if not edges else (*(f"to {edge}" for edge in edges), f"above {edges[-1]}")

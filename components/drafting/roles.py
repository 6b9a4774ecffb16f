"""Which column is predicted, which identifies a row, and which says when it happened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import time, timedelta

import polars as pl

from components.data.moments import assembled
from components.data.moments import moments as read_moments
from components.data.words import counted
from components.drafting import names
from components.drafting.look import ColumnLook, TableLook
from serving.contract import Assembled
from serving.errors import UsageError

FEW_CLASSES = 10  # different whole numbers that may be names of classes
RARE_CLASS = 2  # rows, below which a word is no class
POSITIVE = ("1", "yes", "true", "y", "t", "positive", "pos", "bad", "malignant", "default", "fraud", "churn", "churned")
GROUPED = (0.02, 0.98)  # different keys for each row: fewer are a category, more are rows
EARLIER, SOON = 0.95, timedelta(days=60)  # rows in which one moment is the first, and how close the other follows
LOST = 0.25  # share of the older rows that a key may cost, since it stands among the newest too


@dataclass(frozen=True)
class Role:
    """A column, or several, in a part that it plays, with the reason; no columns where none does."""

    columns: tuple[str, ...] = ()
    why: str = ""

    @property
    def name(self) -> str | None:
        return self.columns[0] if self.columns else None


@dataclass(frozen=True)
class Roles:
    """The parts that columns play besides that of an input.

    Attributes:
        classes: of the target, the positive one last; empty for a number.
        class_rows: rows of each.
    """

    target: Role
    classes: tuple[str, ...] = ()
    class_rows: tuple[int, ...] = ()
    key: Role = field(default_factory=Role)
    event: Role = field(default_factory=Role)

    @property
    def named(self) -> set[str]:
        """Columns that are no inputs for it; an event time is one, since a request brings it too."""
        return {*self.target.columns, *self.key.columns}


def candidates(table: TableLook) -> list[tuple[str, str]]:
    """Columns that may be the target, the likeliest first, each with why."""
    named, usual = names.targets(table.names)
    last = [column.name for column in table.columns[-1:] if column.guess not in ("id", "datetime", "text", "constant")]
    reasons: dict[str, str] = {}
    for found, why in ((named, "its name"), (usual, "a usual name"), (last, "the last column")):
        for name in found:
            reasons[name] = f"{reasons[name]} and {why}" if name in reasons else why
    return [(name, why) for name, why in reasons.items() if table[name].guess not in ("constant", "empty", "id")]


def target(table: TableLook, asked: str | None) -> Role:
    """The column to predict: the one that was *asked* for, or the only one that it can be.

    Raises:
        UsageError: there is no such column, it holds nothing to learn from, or several may be meant.
    """
    if asked is not None:
        if asked not in table.names:
            raise UsageError(f"--target: no column {asked!r} in {table.uri}; it has {', '.join(table.names)}")
        if table[asked].guess in ("constant", "empty"):
            raise UsageError(f"--target {asked}: {table[asked].why}, so that there is nothing to learn; name another")
        return Role((asked,), "asked for")
    found = candidates(table)
    strong = [name for name, why in found if why.startswith("its name")]
    strong = strong or [name for name, why in found if why == "a usual name and the last column"]
    strong = strong or ([found[0][0]] if len(found) == 1 and found[0][1] != "the last column" else [])
    if len(strong) == 1:
        return Role((strong[0],), dict(found)[strong[0]])
    listed = ", ".join(f"{name} ({why})" for name, why in found) or ", ".join(table.names)
    raise UsageError(f"which column of {table.uri} is to be predicted? say --target COLUMN; candidates: {listed}")


def classes(raw: pl.Series, column: ColumnLook) -> list[tuple[str, int]]:
    """The classes of the target *column* with their rows, the positive one last; none where it is a number.

    Args:
        raw: the column as it came, whose words are the classes' names.
    """
    numbers = column.guess in ("float", "int") and column.cells.kind == "number"
    named = names.plain(column.name) in ("class", "label", "species", "type", "category")
    few = column.cells.whole and (column.distinct == 2 or (named and column.distinct <= FEW_CLASSES))
    if numbers and not few:
        return []
    found = [(str(word), rows) for word, rows in counted(class_words(raw, column)).items()]
    if len(found) == 2:
        return sorted(found, key=lambda one: (one[0].lower() in POSITIVE, -one[1]))
    return sorted(found, key=lambda one: (len(one[0]), one[0]) if one[0].isdecimal() else (0, one[0]))


def class_words(raw: pl.Series, column: ColumnLook) -> pl.Series:
    """(n_rows,) what *column*, which came as *raw*, says as the name of a class; null where nothing stands."""
    if column.cells.kind == "number":
        return column.values.cast(pl.Int64, strict=False).cast(pl.String)
    if column.cells.kind == "truth" and raw.dtype == pl.String:
        return raw.str.strip_chars().set(column.values.is_null(), None)
    return column.values.cast(pl.String)


def event(table: TableLook, target: str) -> Role:
    """When the row happened: moments that nearly every row has, called as times are and not as beginnings or ends."""
    found = [
        column
        for column in table.columns
        if column.guess == "datetime"
        and column.name != target
        and column.missing <= 0.01 * column.rows
        and not names.suggests_birth(column.name)
        and not names.suggests_afterwards(column.name)
    ]
    if not found:
        return _of_parts(table, target)
    best = max(found, key=lambda column: (names.suggests_time(column.name), column.missing == 0))
    best = next((column for column in found if column is not best and _begins(column, best)), best)
    told = f"{best.low:%Y-%m-%d} to {best.high:%Y-%m-%d}"
    clock = next((column.name for column in table.columns if column.name != target and _clock(column)), None)
    if clock is not None and bool((best.values.dt.time().drop_nulls() == time()).all()):
        return Role((best.name, clock), f"days and their hours, {told}")
    return Role((best.name,), f"moments in {'every' if best.missing == 0 else 'nearly every'} row, {told}")


def _begins(column: ColumnLook, best: ColumnLook) -> bool:
    """Whether the moments of *column* lie before those of *best*, but not long: of both the first is the event."""
    ahead = (best.values - column.values).drop_nulls()
    before = float((ahead.dt.total_seconds() > 0).mean() or 0.0) if len(ahead) else 0.0
    return before >= EARLIER and ahead.median() <= SOON


def moments(table: TableLook, event: Role) -> pl.Series:
    """(n_rows,) when the rows happened, by the columns of *event*."""
    if len(event.columns) == 1:
        return table[event.columns[0]].values
    made = Assembled(columns=event.columns, format=event_format(table, event))
    text = assembled(table.frame.select(event.columns), "at", made)
    return text.select(read_moments("at", text.schema["at"])).to_series()


def event_format(table: TableLook, event: Role) -> tuple[str, ...]:
    """The format of the columns of *event* with a blank between them; none where it is ISO 8601, or parts in order."""
    first = table[event.columns[0]].cells.dated
    days = tuple(form for form in first.formats if form) if first else ()
    if len(event.columns) != 2:
        return days
    clock = table[event.columns[1]]
    form = "%H" if clock.cells.kind == "number" else _clock_form(clock)
    return tuple(f"{day} {form}" for day in days or ("%Y-%m-%d",))


def _of_parts(table: TableLook, target: str) -> Role:
    """Year, month and day, and hour and minute where they are there, in columns of whole numbers."""
    parts = {names.part_of_time(column.name): column for column in reversed(table.columns) if column.name != target}
    found = [parts[part] for part in ("year", "month", "day", "hour", "minute") if part in parts]
    if len(found) < 3 or not {"year", "month", "day"} <= parts.keys():
        return Role()
    if any(column.cells.kind != "number" or column.missing or not column.cells.whole for column in found):
        return Role()
    role = Role(tuple(column.name for column in found), "")
    at = moments(table, role)
    if at.null_count():
        return Role()
    return Role(role.columns, f"in {len(found)} columns, {at.min():%Y-%m-%d} to {at.max():%Y-%m-%d}")


def _clock(column: ColumnLook) -> bool:
    """Whether it holds hours, or hours and minutes."""
    if column.missing or not (names.part_of_time(column.name) == "hour" or names.suggests_clock(column.name)):
        return False
    if column.cells.kind == "number":
        return column.cells.whole and column.low >= 0 and column.high <= 23
    return column.cells.kind == "word" and bool(_clock_form(column))


def _clock_form(column: ColumnLook) -> str:
    for form, written in (("%H:%M", r"^\d{1,2}:\d{2}$"), ("%H:%M:%S", r"^\d{1,2}:\d{2}:\d{2}$")):
        if column.values.dtype == pl.String and column.values.drop_nulls().str.contains(written).all():
            return form
    return ""


def key(table: TableLook, target: str, event: Role) -> Role:
    """What identifies the thing that a row is about: what repeats and stays together, or else what tells rows apart."""
    free = [column for column in table.columns if column.name not in (target, *event.columns) and not column.missing]
    for column in free:
        if _groups(column) and (not event.columns or _lost(table, column.name, event) <= LOST):
            rows = column.rows / column.distinct
            return Role((column.name,), f"it repeats, {rows:.1f} rows each: they stay on one side of the split")
    unique = [column for column in free if column.guess == "id"]
    unique.sort(key=lambda column: not names.suggests_id(column.name))
    if unique and names.suggests_id(unique[0].name):
        return Role((unique[0].name,), unique[0].why)
    return Role()


def _groups(column: ColumnLook) -> bool:
    """Whether *column* names things with several rows each, far more of them than a category has."""
    low, high = (share * column.rows for share in GROUPED)
    many = column.distinct > max(255, low) or (column.rows < 5_000 and column.distinct > max(30, low))
    called = names.suggests_id(column.name) and not names.suggests_code(column.name)
    return called and many and column.distinct < high and column.guess in ("int", "category", "text", "id")


def _lost(table: TableLook, key: str, event: Role) -> float:
    """Share of the older four fifths whose key stands among the newest fifth: a split by time loses those rows."""
    at, keys = moments(table, event), table[key].values
    newest = (at > at.quantile(0.8, interpolation="nearest")).fill_null(value=True)
    older = keys.filter(~newest)
    return float(older.is_in(keys.filter(newest).unique().implode()).mean() or 0.0) if len(older) else 1.0


def others(table: TableLook, roles: Roles) -> Sequence[ColumnLook]:
    """The columns that play none of the *roles*."""
    return [column for column in table.columns if column.name not in roles.named]

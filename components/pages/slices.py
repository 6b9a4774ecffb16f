"""The slices of an evaluation as a table in which the worst of each column stands out."""

from collections.abc import Iterator, Sequence

from components.judging import metrics
from components.judging.evaluation import FEW_ROWS, Evaluation, Slice
from components.judging.metrics import Metric
from serving.pages.html import Html, bar, group_row, join, row, table, tag


def slices_table(evaluation: Evaluation, champion: Evaluation | None) -> Iterator[str]:
    """A sentence and the table; the champion's leading metric on the same rows stands beside when there is one."""
    leading = metrics.leading(evaluation.task)
    others = [metrics.get(name) for name in metrics.names(evaluation.task) if name != leading.name]
    theirs = {(part.column, part.value): part for part in champion.slices} if champion else {}
    head = ["Slice", "Rows", leading.label, "", *(["champion"] if theirs else []), *(one.label for one in others)]
    top = max((abs(part.metrics.get(leading.name, 0.0)) for part in evaluation.slices), default=0.0) or 1.0
    rows: list[Html] = []
    for column in dict.fromkeys(part.column for part in evaluation.slices):
        parts = [part for part in evaluation.slices if part.column == column]
        worst = _worst(parts, leading)
        rows.append(group_row(column, len(head)))
        for part in parts:
            value = part.metrics.get(leading.name)
            cells = [
                join([part.value, tag("span", " worst", cls="note")]) if part is worst else part.value,
                f"{part.rows:,}",
                _show(part, leading, evaluation.unit),
                bar(0.0 if value is None else abs(value) / top),
            ]
            if theirs:
                cells.append(_show(theirs.get((part.column, part.value)), leading, evaluation.unit))
            cells += [_show(part, one, evaluation.unit) for one in others]
            figures = [k for k in range(1, len(head)) if k != 3]
            rows.append(row(cells, numbers=figures, cls="worst" if part is worst else ""))
    yield tag(
        "p",
        f"The worst slice of each column by {leading.label} is marked; slices of fewer than {FEW_ROWS} rows are not.",
        cls="soft",
    )
    yield table(head, rows, numbers=[k for k in range(1, len(head)) if k != 3])


def _worst(parts: Sequence[Slice], leading: Metric) -> Slice | None:
    """The worst of the slices that have enough rows; None where there is nothing to compare."""
    known = [part for part in parts if part.rows >= FEW_ROWS and leading.name in part.metrics]
    return max(known, key=lambda part: leading.loss(part.metrics[leading.name])) if len(known) > 1 else None


def _show(part: Slice | None, metric: Metric, unit: str) -> str:
    value = part.metrics.get(metric.name) if part else None
    return "–" if value is None else metric.show(value, unit)

"""What is known of each class: a table of precision and recall, and what the figures above it are means of."""

from collections.abc import Iterator

from components.judging.evaluation import Evaluation
from serving.pages.html import table as html_table
from serving.pages.html import tag


def classes_table(evaluation: Evaluation) -> Iterator[str]:
    """A sentence and the table; nothing of numbers."""
    if not evaluation.confusion:
        return
    yield tag("h3", "By class")
    if (many := len(evaluation.classes)) > 2:
        words = f"F1 and ROC AUC are plain means over the {many} classes, each against the rest; recall is the lowest."
        yield tag("p", words, cls="soft")
    told = [sum(row[place] for row in evaluation.confusion) for place in range(len(evaluation.classes))]
    rows = []
    for place, (name, row) in enumerate(zip(evaluation.classes, evaluation.confusion, strict=True)):
        hits, there = row[place], sum(row)
        f1 = _share(2 * hits, there + told[place])
        rows.append((name, f"{there:,}", f"{told[place]:,}", _share(hits, told[place]), _share(hits, there), f1))
    head = ("Class", "Rows", "Answered", "Precision", "Recall", "F1")
    yield html_table(head, rows, numbers=range(1, len(head)))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "\N{EN DASH}"

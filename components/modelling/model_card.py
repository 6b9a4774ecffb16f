"""The card of a model: what it is, what it was made of, how good it was, and what it must not be asked."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from components.judging.evaluation import Evaluation
from serving.contract import Contract

NOTHING: Mapping[str, str] = MappingProxyType({})


def card(
    family: str,
    params: Mapping[str, Any],
    contract: Contract,
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    derived: Mapping[str, str] = NOTHING,
) -> str:
    """Markdown; the same training gives the same text, so it names no time and no place.

    *derived* are the expressions of derived columns by name.
    """
    lines = [
        f"# {contract.target.name} by {family}",
        "",
        f"Predicts `{contract.target.name}`"
        + (f" in {contract.target.unit}" if contract.target.unit else "")
        + (f", one of {', '.join(contract.target.classes)}" if contract.target.classes else "")
        + f", from {len(contract.inputs)} columns. Fitted {_where(facts)}.",
        "",
        "| column | expected | missing allowed |",
        "|---|---|---|",
        *(f"| {name} | {c.expected} | {'yes' if c.nullable else 'no'} |" for name, c in contract.inputs.items()),
        "",
        *(f"- `{name}` is computed: `{text}`" for name, text in derived.items()),
        *([""] if derived else []),
        f"Parameters: {', '.join(f'{k} {v}' for k, v in sorted(params.items())) or 'the defaults of the family'}.",
        _unseen(evaluation, facts),
        "",
        "Outside of the ranges above it has seen nothing, and its answers there mean nothing.",
        "",
        *(f"- {name}: {value}" for name, value in sorted(facts.items())),
    ]
    return "\n".join(lines) + "\n"


def _where(facts: Mapping[str, Any]) -> str:
    return f"on {facts['rows']:,} rows" if "rows" in facts else "elsewhere"


def _unseen(evaluation: Evaluation, facts: Mapping[str, Any]) -> str:
    if "rows" not in facts:
        return (
            f"On {evaluation.rows:,} rows, of which nobody here knows whether it had seen them: {evaluation.sentence}."
        )
    if "judged_rows" not in facts:
        return f"On {evaluation.rows:,} rows it had not seen: {evaluation.sentence}."
    return (
        f"It has seen all rows. The same recipe fitted on {facts['judged_rows']:,} of them, bundle "
        f"{facts['judged'][:12]}, was judged on the other {evaluation.rows:,}: {evaluation.sentence}."
    )

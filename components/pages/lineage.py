"""Where a prediction comes from, back to the rows and the code, and how to make the same model again."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from serving.pages.html import Html, chain, commands, identifier, join, pairs, tag

if TYPE_CHECKING:
    from components.pages.run_facts import RunFacts


def lineage(facts: "RunFacts") -> Iterator[str]:
    """The chain from a request to the source, each link named by what identifies it."""
    commit, _, changes = str(facts.provenance.get("commit", "unknown")).partition("+")
    yield tag(
        "p", "Each answer of the endpoint carries a request id and a version; from there every step is one look-up."
    )
    yield chain(
        [
            ("Prediction", "the prediction log keeps request id, version, time, features and result"),
            ("Version", f"the ledger numbers versions of {facts.name}, one per bundle digest"),
            ("Bundle", identifier(facts.digest)),
            ("Run", join([identifier(facts.run_id), f", ended {facts.ended:%Y-%m-%d %H:%M:%S} UTC"])),
            ("Code", join([identifier(commit), _changes(commit, changes)])),
            ("Snapshot", join([identifier(facts.snapshot.id), f", {facts.snapshot.rows:,} rows"])),
            ("Source", identifier(facts.snapshot.source)),
        ]
    )
    yield tag("h3", "Made with")
    yield _made_with(facts)


def _made_with(facts: "RunFacts") -> Html:
    made, where = facts.provenance, facts.environment
    rows = {
        "Seed": made.get("seed", facts.settings.get("seed", "unknown")),
        "Split": made.get("split", "unknown"),
        "Configuration": made.get("configuration", "unknown"),
        "Code digest": made.get("code", "unknown"),
        "Lock": where.lock,
        "Python": where.python,
    }
    libraries = ", ".join(f"{name} {version}" for name, version in where.libraries.items())
    return pairs([*((name, identifier(str(value))) for name, value in rows.items()), ("Libraries", libraries)])


def reproduce(facts: "RunFacts") -> Iterator[str]:
    """The commands, and how to tell that they gave the same."""
    commit = str(facts.provenance.get("commit", "unknown")).partition("+")[0]
    lines = [f"git checkout {shlex.quote(commit)}"] if commit != "unknown" else []
    lines += [
        facts.command,
        f"slipway models list {shlex.quote(facts.name)}",
        f"slipway models show {shlex.quote(facts.name)} VERSION",
        f"slipway models history {shlex.quote(facts.name)}",
    ]
    yield commands(lines)
    yield tag(
        "p",
        f"The same rows give snapshot {facts.snapshot.short}, and with the same code and seed they give bundle"
        f" {facts.digest[:6]}; the first id that differs says what has changed.",
    )


def _changes(commit: str, changes: str) -> str:
    if commit == "unknown":
        return ", the run was not made in a git checkout"
    return ", and files that were changed but not committed" if changes else ", nothing changed beside it"

"""The first stage: from the text of a project, and what was asked besides, to the table and what later stages take."""

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from components.data import stages as data
from components.data.moments import moment
from components.projects import project as projects
from components.projects.project import Project
from components.steps import carried
from components.steps.code_digest import code_digest
from components.steps.place import Place, opened, s3_settings
from components.steps.provenance import UNKNOWN
from serving.bundle.own import makers
from serving.durations import parse
from serving.errors import ConfigError
from serving.files import canonical_json, sha256_bytes, write_text
from serving.frozen import Frozen

UNSAID = "slipway submit --project PROJECT"  # of a run that another client started


class RunNotes(Frozen):
    """What ``slipway`` knows of a run that it starts; all empty where another client does.

    Attributes:
        run_id: instead of the id that the server gives.
        code, commit: of what runs.
        command: what was typed to start the run, without ``--source``, ``--as-of`` and ``--window``.
    """

    run_id: str = ""
    code: str = ""
    commit: str = ""
    command: str = ""


class Ingested(NamedTuple):
    """What the doorway returns, in its order; each section of the project alone, so that only what it touches runs
    again."""

    snapshot_id: str
    name: str
    run_id: str
    contract_id: str
    split_policy: str
    features: str
    model: str
    search: str
    says: str
    slices: str
    gates: str
    approval: str
    rollout: str
    settings: str
    place: str
    key: str
    as_of: str
    commit: str
    code: str
    seed: int
    command: str


def ingest(
    project: str, as_of: str, window: str, source: str, place: str, notes: str, run_id: str, snapshot: str, rules: str
) -> Ingested:
    """Write the project's table to the directory *snapshot* and its contract to the file *rules*.

    Args:
        project: its YAML or JSON, or the address of a file with that, as wide ones are too long for a parameter.
        as_of: the day that the run takes for today; ``""`` for the day that it is, UTC.
        window: ``""`` for all rows, or a length such as ``180d``: only events since then, seen from *as_of*.
        source: another table than the project's; ``""`` for that.
        place: ``Place`` as JSON; ``""`` for the one that is mounted.
        notes: ``RunNotes`` as JSON, or ``""``.
        run_id: the server's, for a run without one of its own.

    Raises:
        ConfigError: *project*, *as_of* or *window* is not what it should be.
    """
    where = opened(place)
    asked, known = read(project, where), RunNotes.model_validate_json(notes or "{}")
    day, table = as_of or datetime.now(UTC).date().isoformat(), source or asked.source.uri
    _check(day, window)
    write_text(Path(rules), asked.contract.model_dump_json())
    return Ingested(
        snapshot_id=data.ingest(table, day, window, where, rules, snapshot),
        run_id=known.run_id or run_id,
        commit=known.commit or UNKNOWN,
        code=_code(known.code or code_digest(), asked),
        command=again(known.command or UNSAID, {"source": table, "as_of": day, "window": window}),
        place=where.model_dump_json(),
        key=where.key,
        as_of=day,
        **sections(asked),
    )


def read(text: str, place: Place) -> Project:
    """The project in *text*, or in the file whose address it is.

    Raises:
        ConfigError: it is neither.
    """
    word = text.strip()
    if word.startswith("{") or "\n" in word:
        return _parsed(word, "project")
    if len(word.split()) > 1:
        raise ConfigError(
            f"project: expected the lines of a project.yaml, got one that begins {word[:40]!r}: a form of one line "
            "drops breaks; give the project's s3:// address, or JSON, or a package of `slipway compile --project FILE`"
        )
    if "://" not in word:
        raise ConfigError(f"project: expected the text of a project.yaml, or an s3:// address of one, got {word!r}")
    return _parsed(carried.read(word, s3_settings(place)), word)


def sections(project: Project) -> dict[str, Any]:
    """What the steps take of *project*, by the outputs' names; the order of the contract's columns means something."""
    gates, rules = project.demands.model_dump(mode="json", exclude_unset=True), project.contract.model_dump_json()
    return {
        "name": project.name,
        "contract_id": sha256_bytes(rules.encode()),
        "split_policy": project.split.model_dump_json(),
        "features": project.features.model_dump_json(),
        "model": project.model.model_dump_json(),
        "search": project.search.model_dump_json(),
        "says": project.says.model_dump_json(),
        "slices": json.dumps(list(project.along)),
        "gates": json.dumps(gates, sort_keys=True),
        "approval": project.approval,
        "rollout": project.rollout.model_dump_json(),
        "settings": project.model_dump_json(exclude={"contract"}),
        "seed": project.seed,
    }


def _code(known: str, project: Project) -> str:
    """The digest that caches see: *known* of this project's own code, and that of packages which a model is made by."""
    own = [one.sha256 for one in makers(project.features.own, project.model.family)]
    return sha256_bytes(canonical_json([known, *own])) if own else known


def again(command: str, asked: Mapping[str, str]) -> str:
    """*command* with the options that ask for the same once more, as one types it in the checkout.

    The inverse of what ``slipway run`` and ``slipway submit`` make of their options.
    """
    given = {name: asked[name] for name in ("source", "as_of", "window") if asked[name]}
    words = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in given.items()]
    return " ".join([command, *words])


def _check(as_of: str, window: str) -> None:
    try:
        moment(as_of)
    except ValueError as error:
        raise ConfigError(f"as_of: expected a day such as 2026-01-31, got {as_of!r}") from error
    try:
        parse(window or "0s")
    except ValueError as error:
        raise ConfigError(f"window: {error}") from error


def _parsed(text: str, where: str) -> Project:
    """What ``slipway`` sends is JSON, in which a duration may be a number of seconds; what people write has units."""
    if not text.lstrip().startswith("{"):
        return projects.from_text(text, where)
    try:
        return projects.parse(json.loads(text))
    except ValueError as error:
        raise ConfigError(f"{where}: it begins as JSON and is none: {error}") from error

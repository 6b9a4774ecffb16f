"""What a verb works with: the place, project and model that are meant, and whoever reads its lines and its answer."""

import contextlib
import json
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from components.data.meeting import Needed, RawTable
    from components.drafting.look import TableLook
    from components.projects.project import Project
    from components.steps.place import Place
    from serving.ledger.ledger import Ledger
    from serving.service.service import Service


@dataclass
class Session:
    """One call of the command line; what a verb does not ask for is neither read nor imported.

    Attributes:
        home: where runs, models and logs are; None leaves it to the settings.
        as_json: print JSON objects instead of lines for people.
        named: the project's file that was named.
        named_model: the model that was named, without a project's file.
        changes: what the verb started may have changed the ledger.
    """

    home: str | None
    as_json: bool
    named: Path | None = None
    named_model: str | None = None
    changes: bool = False

    @cached_property
    def place(self) -> "Place":
        from pipelines import settings

        return settings.load(home=self.home)

    @property
    def project_file(self) -> Path:
        """The file of the project that is named, or else meant."""
        from components.projects import project_file

        return project_file.find(self.named, self.place.root)

    @cached_property
    def project(self) -> "Project":
        from components.projects import project

        return project.load(self.project_file)

    @cached_property
    def model(self) -> str:
        """Whose traffic: that of the model that is named, or else the project's name."""
        if self.named_model is not None:
            return self.named_model
        from components.projects import project_file

        return project_file.name(self.project_file)

    @cached_property
    def ledger(self) -> "Ledger":
        from pipelines import settings
        from serving.ledger.ledger import open_ledger

        return open_ledger(settings.values(self.home)["ledger"])

    def mirror(self) -> None:
        """After a change of the ledger: have MLflow show it, and say what is missing there; Ctrl-C does not wait."""
        from components.steps import mirroring
        from pipelines import settings

        place, self.changes = settings.values(self.home), False
        with contextlib.suppress(KeyboardInterrupt):
            if missing := mirroring.settle(mirroring.start(place), Path(place["home"]), mirroring.PATIENCE_S):
                click.echo(f"slipway: {missing}", err=True)

    def close(self) -> None:
        """The end of a verb, however it ended."""
        if self.changes or ("ledger" in vars(self) and self.ledger.changed):
            self.mirror()

    @property
    def directory(self) -> Path:
        """Of the model's service on this machine."""
        from serving.local.paths import service_directory

        return service_directory(self.place.serving, self.model)

    def service(self, model: str | None = None) -> "Service":
        """The service of *model*, or else the one that is meant, at the place that the settings name."""
        from serving.places import open_service

        return open_service(self.place.serving, model or self.model, self.place.ledger)

    def read_table(self, uri: str, needed: "Needed | None" = None) -> "pl.DataFrame":
        """The table at *uri*, ``s3://`` by the secrets of the place; what was passed over is said."""
        with self._opened(uri, needed) as table:
            return table.frame()

    def look(self, uri: str) -> "TableLook":
        """What the columns of the table at *uri* are, whatever a contract says of them."""
        from components.drafting.look import look

        with self._opened(uri, None) as table:
            return look(table)

    @contextlib.contextmanager
    def _opened(self, uri: str, needed: "Needed | None") -> "Iterator[RawTable]":
        from components.data import sources
        from components.data.meeting import ANY
        from components.steps.place import s3_settings

        with sources.opened(uri, s3_settings(self.place), needed or ANY) as table:
            for notice in table.notices:
                click.echo(f"slipway: {notice}", err=True)  # no part of the verb's answer
            yield table

    def line(self, subject: str, text: str, *, seconds: float | None = None, **facts: Any) -> None:
        """One happening: for people in columns, or as a JSON object for programs."""
        if self.as_json:
            event = {"subject": subject, "text": text, **({} if seconds is None else {"seconds": seconds}), **facts}
            click.echo(json.dumps(event, default=str))
            return
        took = "" if seconds is None else f"{seconds:.1f} s"
        for part in textwrap.wrap(text, 84, break_long_words=False, break_on_hyphens=False) or [""]:
            click.echo(f"{subject:<18} {part:<84} {took:>8}".rstrip())
            subject = took = ""

    def result(self, value: dict[str, Any], text: str) -> None:
        """The answer of a verb: *value* for programs, *text* for people."""
        click.echo(json.dumps(value, default=str, indent=2) if self.as_json else text)

    def await_traffic(self, ledger: "Ledger", service: "Service", sentence: str, **facts: Any) -> None:
        """The end of a verb that changed the ledger's slots: wait until traffic follows, or say when it will.

        Raises:
            InfrastructureError: traffic does not follow; the message says that the ledger has changed all the same.
        """
        try:
            followed = service.await_traffic(ledger)
        except InfrastructureError as error:
            changed = f"the ledger says so ({sentence}), but traffic does not follow: {error}"
            raise InfrastructureError(changed) from error
        text = sentence if followed else f"{sentence} as soon as {service.keeper} runs"
        self.result({**facts, "in_force": followed, "sentence": sentence}, text)


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

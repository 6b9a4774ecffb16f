"""Rollouts that were asked for and not begun; asking needs neither a lease nor a controller."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from serving.files import write_text
from serving.rollout.state import Request


class Waiting(Protocol):
    """Requests, oldest first."""

    def put(self, request: Request) -> None:
        """Ask for *request*; asking again changes nothing."""

    def __iter__(self) -> Iterator[Request]: ...

    def done(self, request: Request) -> None:
        """It has begun, or never will."""


@dataclass(frozen=True)
class WaitingRequests:
    """The requests in *directory*, one file each, oldest first by the time they were put there."""

    directory: Path

    def put(self, request: Request) -> None:
        """Ask for *request*; asking again changes nothing."""
        write_text(self.directory / f"{request.id}.json", request.model_dump_json(indent=2))

    def __iter__(self) -> Iterator[Request]:
        for path in sorted(self.directory.glob("[!.]*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                yield Request.model_validate_json(path.read_text(encoding="utf-8"))
            except (ValidationError, FileNotFoundError):
                continue  # of another version, or taken by another controller

    def done(self, request: Request) -> None:
        (self.directory / f"{request.id}.json").unlink(missing_ok=True)


def waiting_requests(service_directory: Path) -> WaitingRequests:
    return WaitingRequests(service_directory / "waiting")

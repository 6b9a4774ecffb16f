"""Small JSON documents by name that outlive a controller, where nothing but the last one matters."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.files import read_json, write_json


class Memory(Protocol):
    def get(self, name: str) -> Mapping[str, Any] | None:
        """The document last put under *name*, None before the first."""

    def put(self, name: str, document: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class FileMemory:
    """One file for each name in *directory*."""

    directory: Path

    def get(self, name: str) -> Mapping[str, Any] | None:
        path = self.directory / f"{name}.json"
        return dict(read_json(path)) if path.exists() else None

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        write_json(self.directory / f"{name}.json", dict(document))

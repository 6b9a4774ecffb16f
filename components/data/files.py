"""The files of a table: one, or all of one format below a directory or a prefix of an object store."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.errors import ConfigError, DataError
from serving.store.store import S3Settings, Store, open_store

_BEING_WRITTEN = re.compile(r"/_temporary/|\.(crdownload|filepart|inprogress|part|tmp)$|/_inprogress")
_NUMBERED = re.compile(r"(\d+)-of-(\d+)")  # part-00003-of-00010.parquet

KINDS = {".csv": "CSV", ".csv.gz": "CSV", ".tsv": "CSV", ".tsv.gz": "CSV", ".parquet": "parquet"}
_WAYS_OUT = {
    (".xlsx", ".xls", ".xlsm", ".ods"): "save its sheet as CSV (in Excel: Save As, CSV UTF-8)",
    (".jsonl", ".ndjson", ".json"): "write it as parquet (polars: read_ndjson(FILE).write_parquet(...))",
    (".feather", ".arrow", ".orc", ".avro", ".sqlite", ".db", ".zip"): "export it as parquet or CSV",
}


@dataclass(frozen=True)
class TableFiles:
    """Where a table lies.

    Attributes:
        path: of this machine; with a ``store`` the prefix in it.
    """

    uri: str
    path: str
    store: Store | None = None

    @cached_property
    def alone(self) -> bool:
        """Whether the address is that of one file."""
        if self.store is not None:
            return bool(suffix(self.path)) and self.store.exists(self.path)
        return not Path(self.path).is_dir()

    def names(self) -> list[str]:
        """Paths below the address in their order; of an address that is a file, its own name.

        Markers such as ``_SUCCESS`` and hidden files are no tables.

        Raises:
            DataError: nothing there, no table, or several formats.
        """
        if self.alone:
            if self.store is None and not Path(self.path).exists():
                raise self._absent()
            kind(self.path)
            return [Path(self.path).name]
        below = self._below
        names = sorted(name for name in below if suffix(name) and not _hidden(name))
        kinds = sorted({kind(name) for name in names})
        self._check_whole(below, names)
        if not names:
            raise DataError(f"{self.uri} holds no .csv, .csv.gz or .parquet file; check the path")
        if len(kinds) > 1:
            raise DataError(
                f"{self.uri} holds files of different formats ({' and '.join(kinds)}): expected one; name one file, or "
                "move the others away"
            )
        return names

    @property
    def passed_over(self) -> list[str]:
        """What lies below the address and is no table; markers and hidden files are not worth a word."""
        return [] if self.alone else sorted(name for name in self._below if not suffix(name) and not _hidden(name))

    def told(self, name: str) -> str:
        """How messages call the file *name*."""
        return self.uri if self.alone else f"{self.uri.rstrip('/')}/{name}"

    def at_hand(self, name: str, folder: Path | None) -> Path:
        """The file *name* on this machine; an object is brought into *folder*."""
        if self.store is None or folder is None:
            return Path(self.at(name))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.store.download(self.at(name), path)
        return path

    def at(self, name: str) -> str:
        """The path or key of the file *name*."""
        return self.path if self.alone else f"{self.path}/{name}" if self.path else name

    @cached_property
    def _below(self) -> list[str]:
        """Every file below the address; links are followed."""
        if self.store is None:
            path = Path(self.path)
            files = (Path(folder) / name for folder, _, names in os.walk(path, followlinks=True) for name in names)
            return [str(file.relative_to(path)) for file in files]
        found = [key.removeprefix(self.path).lstrip("/") for key in self.store.list(self.path)]
        if suffix(self.path) and not found:
            raise self._absent()
        return found

    def _check_whole(self, below: Collection[str], names: Collection[str]) -> None:
        """Refuse a table that is still being written, or of which something is gone."""
        if writing := sorted(name for name in below if _BEING_WRITTEN.search(f"/{name}")):
            raise DataError(f"{self.uri} is still being written: it holds {writing[0]}; read it when that is gone")
        for name in names:
            if self.store is None and not Path(self.at(name)).exists():
                raise DataError(f"{self.told(name)} is a link to nothing; restore what it names, or remove it")
        known: dict[tuple[str, int], set[int]] = {}
        for name in names:
            if found := _NUMBERED.search(name):
                known.setdefault((name[: found.start()], int(found[2])), set()).add(int(found[1]))
        for (stem, count), numbers in known.items():
            whole = set(range(count)) if 0 in numbers else set(range(1, count + 1))
            if gone := sorted(whole - numbers):
                raise DataError(
                    f"{self.told(stem)}*: {len(gone)} of {count} parts are missing, the first is number {gone[0]}; "
                    "bring all parts, or rename those that are a table by themselves"
                )

    def _absent(self) -> DataError:
        return DataError(
            f"{self.uri} does not exist: expected a CSV or parquet file or a directory of them; check the path"
        )


def table_files(uri: str, s3: S3Settings | None = None) -> TableFiles:
    """The files at *uri*, a path, ``file://`` or ``s3://``; nothing is looked at yet.

    Raises:
        ConfigError: it is none of them, or names no bucket.
    """
    address = urlsplit(uri)
    scheme = address.scheme.lower() if "://" in uri else "file"
    if scheme == "s3" and address.netloc:
        return TableFiles(uri, address.path.strip("/"), open_store(f"s3://{address.netloc}", s3))
    if scheme != "file":
        raise ConfigError(f"a table's files: expected a path, file:// or s3://bucket/prefix, got {uri!r}")
    return TableFiles(uri, unquote(address.path) if "://" in uri else uri)


def suffix(name: str) -> str:
    """The suffix in ``KINDS``, or nothing for a file that is no table."""
    return next((end for end in KINDS if name.lower().endswith(end)), "")


def kind(name: str) -> str:
    """``CSV`` or ``parquet``.

    Raises:
        DataError: neither.
    """
    if not suffix(name):
        way = next((way for ends, way in _WAYS_OUT.items() if name.lower().endswith(ends)), "")
        known = f"expected a name ending in {', '.join(KINDS)}"
        raise DataError(f"{name} is of no known format: {known}{way and '; '}{way}")
    return KINDS[suffix(name)]


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in Path(name).parts)

"""The files of a table: one, or all of one format below a directory or a prefix of an object store."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.errors import ConfigError, DataError
from serving.store.store import S3Settings, Store, open_store

KINDS = {".csv": "CSV", ".csv.gz": "CSV", ".parquet": "parquet"}


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
        names = sorted(name for name in self._below() if suffix(name) and not _hidden(name))
        kinds = sorted({kind(name) for name in names})
        if not names:
            raise DataError(f"{self.uri} holds no .csv, .csv.gz or .parquet file; check the path")
        if len(kinds) > 1:
            raise DataError(
                f"{self.uri} holds files of different formats ({' and '.join(kinds)}): expected one; name one file, or "
                "move the others away"
            )
        return names

    def at(self, name: str) -> str:
        """The path or key of the file *name*."""
        return self.path if self.alone else f"{self.path}/{name}" if self.path else name

    def content(self, name: str) -> Path | bytes:
        """The file *name*, or what an object holds."""
        return Path(self.at(name)) if self.store is None else self.store.get(self.at(name))

    def _below(self) -> list[str]:
        if self.store is None:
            path = Path(self.path)
            return [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
        found = [key.removeprefix(self.path).lstrip("/") for key in self.store.list(self.path)]
        if suffix(self.path) and not found:
            raise self._absent()
        return found

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
        raise DataError(f"{name} is of no known format: expected a name ending in {', '.join(KINDS)}")
    return KINDS[suffix(name)]


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in Path(name).parts)

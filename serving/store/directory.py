"""What a store promises, and the store that is a directory of this machine.

A key is a path of segments, ``models/housing/manifest.json``. Values are whole or absent: a reader sees the old bytes
or the new ones, never a part. Keys that a file system and an object store would read differently are refused by both.
"""

import contextlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from serving.errors import DataError, PlaceError
from serving.files import CHUNK, whole_directory, whole_file

Source = bytes | Path  # a value in memory, or a file that is streamed
LONGEST_SEGMENT = 200  # bytes; file systems end at 255, and temporary names need the rest
LONGEST_KEY = 900  # bytes; S3 ends at 1024, which the prefix shares


class StoreKeyError(DataError):
    """A key that is not in the store, or that could not be in any."""


def checked_key(key: str) -> str:
    """*key*, or ``StoreKeyError`` when it is absolute, climbs with "..", starts with a dot or is unprintable."""
    reason = _fault(key)
    if reason:
        raise StoreKeyError(f"{key!r} is not a store key: {reason}; expected segments such as 'models/a/file.json'")
    return key


def _fault(key: str) -> str:
    if not key:
        return "it is empty"
    if len(key.encode(errors="replace")) > LONGEST_KEY:
        return f"it is longer than {LONGEST_KEY} bytes"
    if "\\" in key or any(not character.isprintable() for character in key):
        return "it holds a backslash or an unprintable character"
    for segment in key.split("/"):
        if not segment:
            return "a segment is empty"
        if segment.startswith("."):
            return f"segment {segment!r} starts with a dot"
        if len(segment.encode()) > LONGEST_SEGMENT:
            return f"a segment is longer than {LONGEST_SEGMENT} bytes"
    return ""


def checked_source(source: Source) -> Source:
    if isinstance(source, Path) and not source.is_file():
        raise DataError(f"cannot store {source}: expected a file; check the path")
    return source


class Store(ABC):
    """A few methods over whole values, and what follows from them.

    All raise ``StoreKeyError`` for a key that cannot be one, ``InfrastructureError`` when an endpoint does not answer
    and ``PlaceError`` when the disk is full; every call may be repeated.
    """

    @abstractmethod
    def put(self, key: str, source: Source) -> None:
        """Write *source* under *key*, replacing what was there."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole value; ``StoreKeyError`` when it is absent."""

    @abstractmethod
    def list(self, prefix: str = "") -> tuple[str, ...]:
        """All keys below the folder *prefix*, sorted; "" is the whole store."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove *key*; an absent one is done already."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Stream the value to *path*, which is then whole or untouched; ``StoreKeyError`` when it is absent."""

    @abstractmethod
    def exists(self, key: str) -> bool: ...

    @abstractmethod
    def uri(self, key: str = "") -> str:
        """The address of *key*, or of the store itself; what ``open_store`` takes for a folder."""

    def upload_directory(self, directory: Path, prefix: str, last: str = "manifest.json") -> int:
        """Put every file of *directory* below *prefix* and return how many there were.

        The file called *last* goes last, so that a reader who finds it finds the others.
        """
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        if not files:
            raise DataError(f"{directory} holds no files to upload; expected a directory with at least one")
        keys = {path: checked_key(f"{prefix}/{path.relative_to(directory).as_posix()}") for path in files}
        for path in sorted(files, key=lambda path: (path == directory / last, path)):
            self.put(keys[path], path)
        return len(files)

    def delete_directory(self, prefix: str, first: str = "manifest.json") -> None:
        """Remove all keys below *prefix*; an absent folder is done already.

        The file called *first* goes first, so that a reader who finds it finds the others.
        """
        keys, before = self.list(prefix), f"{prefix}/{first}"
        for key in sorted(keys, key=lambda key: (key != before, key)):
            self.delete(key)

    def download_directory(self, prefix: str, directory: Path) -> int:
        """Bring all keys below *prefix* into *directory*, which is replaced as a whole; return how many there were."""
        keys = self.list(prefix)
        if not keys:
            raise StoreKeyError(f"nothing below {self.uri(prefix)}; expected the files of a directory there")
        with whole_directory(directory) as temporary:
            for key in keys:
                relative = checked_key(key).removeprefix(f"{prefix}/") if prefix else checked_key(key)
                self.download(key, temporary / relative)
        return len(keys)


class DirectoryStore(Store):
    """Keys as files below *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, source: Source) -> None:
        path = self._path(key)
        checked_source(source)
        with self._told(key), whole_file(path) as temporary:
            _copy(source, temporary)

    def get(self, key: str) -> bytes:
        with self._told(key):
            return self._path(key).read_bytes()

    def list(self, prefix: str = "") -> tuple[str, ...]:
        base = self._path(prefix) if prefix else self.root
        files = (path.relative_to(self.root) for path in base.rglob("*") if path.is_file())
        return tuple(sorted(path.as_posix() for path in files if not any(part.startswith(".") for part in path.parts)))

    def delete(self, key: str) -> None:
        with self._told(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def delete_directory(self, prefix: str, first: str = "manifest.json") -> None:
        super().delete_directory(prefix, first)
        shutil.rmtree(self._path(prefix), ignore_errors=True)  # empty folders, and what a killed writer left in them

    def download(self, key: str, path: Path) -> None:
        with self._told(key):
            source = self._path(key).open("rb")
        with source, whole_file(path) as temporary, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def uri(self, key: str = "") -> str:
        return (self._path(key) if key else self.root).absolute().as_uri()

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StoreKeyError(
                f"no {key!r} in the store {self.uri()}; it was never put there or is deleted"
            ) from error
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise StoreKeyError(
                f"{key!r} cannot be used in the store {self.uri()}: a key and a folder there would share one name"
            ) from error
        except PermissionError as error:
            if self._path(key).is_dir():
                raise StoreKeyError(f"{key!r} is a folder of the store {self.uri()}, not a key") from error
            raise PlaceError(f"the store {self.uri()} refuses access to {key!r}: permission denied") from error


def _copy(source: Source, path: Path) -> None:
    if isinstance(source, bytes):
        path.write_bytes(source)
        return
    shutil.copyfile(source, path)

"""Where predictions go: a directory or an object store, whole files only.

NAME.parquet              predictions of a partition, one row for each of its rows, in their order
_refused/NAME.parquet     its rows without a prediction, with reasons
_manifests/NAME.json      what was scored with which version
manifest.json             all of them; absent while any is missing
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from components.scoring.manifest import Asked, PartitionManifest, Written
from components.steps.place import local_path
from serving.errors import UsageError
from serving.files import sha256_bytes, sha256_file, whole_file
from serving.locks import only_holder
from serving.store.store import DirectoryStore, S3Settings, Store, StoreKeyError, open_store

MANIFEST, MANIFESTS, REFUSED = "manifest.json", "_manifests", "_refused"
LOCK = ".lock"


@dataclass(frozen=True)
class Output:
    """Results below one address.

    Attributes:
        directory: where they are on this machine; None for an object store.
    """

    store: Store
    directory: Path | None

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder for a partition's unfinished files, on the disk of the results; what a killed run left in
        it is removed."""
        if self.directory is None:
            with tempfile.TemporaryDirectory(prefix="slipway-score-") as folder:
                yield Path(folder)
            return
        folder_here = self.directory / f".work-{sha256_bytes(name.encode())[:16]}"
        shutil.rmtree(folder_here, ignore_errors=True)
        folder_here.mkdir(parents=True)
        try:
            yield folder_here
        finally:
            shutil.rmtree(folder_here, ignore_errors=True)

    def publish(self, path: Path, key: str) -> Written:
        """Move the finished file *path* to *key*."""
        written = Written(key=key, sha256=sha256_file(path), size=path.stat().st_size)
        if self.directory is None:
            self.store.put(key, path)
        else:
            with whole_file(self.directory / key) as temporary:
                path.replace(temporary)
        return written

    def write(self, key: str, document: BaseModel) -> bytes:
        data = document.model_dump_json(indent=1).encode() + b"\n"
        self.store.put(key, data)
        return data

    def read_manifest(self, name: str) -> PartitionManifest | None:
        """The manifest of the partition *name*; None when it is absent or cannot be read."""
        try:
            return PartitionManifest.model_validate_json(self.store.get(manifest_key(name)))
        except (StoreKeyError, ValidationError):
            return None

    def finished(self, asked: Asked) -> PartitionManifest | None:
        """The manifest of what is *asked* if it was done already and its files are as they were written."""
        manifest = self.read_manifest(asked.input.name)
        if manifest is None or manifest.asked != asked:
            return None
        files = [manifest.predictions, *([manifest.refusals] if manifest.refusals else [])]
        return manifest if all(self._intact(file) for file in files) else None

    def forget(self, kept: set[str]) -> None:
        """Remove the results of partitions whose names are not in *kept*: their input is gone."""
        for key in self.store.list(MANIFESTS):
            name = key.removeprefix(f"{MANIFESTS}/").removesuffix(".json")
            if name not in kept:
                for stale in (manifest_key(name), prediction_key(name), refused_key(name)):
                    self.store.delete(stale)

    def _intact(self, file: Written) -> bool:
        if self.directory is None:
            return self.store.exists(
                file.key
            )  # an object is whole or absent, and asking for its bytes costs a download
        path = self.directory / file.key
        return path.is_file() and path.stat().st_size == file.size and sha256_file(path) == file.sha256


def open_output(uri: str, source: str, s3: S3Settings | None = None) -> Output:
    """Results at *uri*, a directory or ``s3://bucket/prefix``; begun there if nothing is yet.

    Raises:
        UsageError: *uri* is within the table to score, or a directory with other files in it.
    """
    if urlsplit(uri).scheme.lower() == "s3":
        if f"{uri.rstrip('/')}/".startswith(f"{source.rstrip('/')}/"):
            raise _within(uri, source)
        return Output(open_store(uri, s3), None)
    directory = local_path(uri, "the place for predictions")
    if urlsplit(source).scheme.lower() != "s3":
        given = local_path(source, "the table to score")
        if given.resolve() == directory.resolve() or given.resolve() in directory.resolve().parents:
            raise _within(uri, source)
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir()) and not _ours(directory)):
        raise UsageError(
            f"{uri} holds other files: expected a new or empty directory, or one with earlier predictions; "
            "choose another place"
        )
    (directory / MANIFESTS).mkdir(parents=True, exist_ok=True)
    return Output(DirectoryStore(directory), directory)


@contextlib.contextmanager
def only_writer(output: Output) -> Iterator[None]:
    """Hold *output* against a second command on this machine.

    Raises:
        ConflictError: one is under way.
    """
    if output.directory is None:
        yield
        return
    told = f"another command writes predictions to {output.directory}"
    with only_holder(output.directory / LOCK, lambda who: f"{told}, {who}; wait for it, or choose another place"):
        yield


def prediction_key(name: str) -> str:
    return f"{name}.parquet"


def refused_key(name: str) -> str:
    return f"{REFUSED}/{name}.parquet"


def manifest_key(name: str) -> str:
    return f"{MANIFESTS}/{name}.json"


def _ours(directory: Path) -> bool:
    return (directory / MANIFESTS).is_dir()


def _within(uri: str, source: str) -> UsageError:
    return UsageError(f"{uri} lies within the table to score, {source}: expected another place for predictions")

"""The store: one contract, held by a directory and by an S3 service alike."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import minio
import pytest
from moto.server import ThreadedMotoServer

from serving.errors import ConfigError, DataError, InfrastructureError, PlaceError
from serving.store import directory as store_directory
from serving.store.store import S3Settings, Store, StoreKeyError, open_store

BUCKET = "models"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Settings]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = S3Settings(f"{host}:{port}", "key", "secret", secure=False)
    minio.Minio(settings.endpoint, "key", "secret", secure=False, region=settings.region).make_bucket(BUCKET)
    yield settings
    server.stop()


@pytest.fixture(params=["path", "file", "bucket", "bucket-with-prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Settings) -> Iterator[Store]:
    kinds = {
        "path": str(tmp_path / "store"),
        "file": (tmp_path / "a store").as_uri(),
        "bucket": f"s3://{BUCKET}",
        "bucket-with-prefix": f"s3://{BUCKET}/slipway/prod",
    }
    opened = open_store(kinds[request.param], s3)
    yield opened
    for key in opened.list():
        opened.delete(key)


def test_what_is_put_comes_back(store: Store, tmp_path: Path) -> None:
    """Bytes and files come back as they were, the last writer's value counts, and empty values are values."""
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 5000)
    store.put("a/bytes", b"one")
    store.put("a/bytes", b"two")
    store.put("a/file", file)
    store.put("a/empty", b"")
    assert store.get("a/bytes") == b"two"
    assert store.get("a/file") == file.read_bytes()
    assert store.get("a/empty") == b""
    store.download("a/file", tmp_path / "back" / "weights")
    assert (tmp_path / "back" / "weights").read_bytes() == file.read_bytes()


def test_list_is_by_folder_and_sorted(store: Store) -> None:
    """A prefix is a folder, never the beginning of a name; nothing there is an empty answer."""
    for key in ("m/b", "m/a/x y", "m/a/é", "mm/c", "z"):
        store.put(key, b"")
    assert store.list() == ("m/a/x y", "m/a/é", "m/b", "mm/c", "z")
    assert store.list("m") == ("m/a/x y", "m/a/é", "m/b")
    assert store.list("m/a") == ("m/a/x y", "m/a/é")
    assert store.list("nothing") == ()


def test_delete_is_repeatable(store: Store) -> None:
    """Deleting removes the key; deleting again, or what never was, is no error."""
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert not store.exists("a/b")
    assert store.list() == ()


def test_a_missing_key_is_named(store: Store, tmp_path: Path) -> None:
    """Reading what is not there names key and store, and leaves no file behind."""
    store.put("a/b", b"x")
    for missing in ("a/c", "a"):
        assert not store.exists(missing)
        with pytest.raises(StoreKeyError, match=f"'{missing}'"):
            store.get(missing)
    target = tmp_path / "target"
    target.write_bytes(b"before")
    with pytest.raises(StoreKeyError, match="no 'a/c' in the store"):
        store.download("a/c", target)
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


REFUSED_KEYS = {
    "empty": "",
    "parent": "..",
    "climbs": "../x",
    "climbs-inside": "a/../../x",
    "here": "a/./b",
    "absolute": "/etc/passwd",
    "doubled": "a//b",
    "folder": "a/",
    "hidden": ".hidden",
    "backslashes": "a\\..\\b",
    "line-break": "a\nb",
    "long-segment": "a" * 201,
    "long": "/".join(["a" * 100] * 10),
}


@pytest.mark.parametrize("key", REFUSED_KEYS.values(), ids=REFUSED_KEYS)
def test_keys_that_climb_or_confuse_are_refused(store: Store, tmp_path: Path, key: str) -> None:
    """No method takes a key that would leave the store or mean different things on different systems."""
    with pytest.raises(StoreKeyError, match="not a store key"):
        store.put(key, b"x")
    with pytest.raises(StoreKeyError, match="not a store key"):
        store.get(key)
    with pytest.raises(StoreKeyError, match="not a store key"):
        store.download(key, tmp_path / "x")
    with pytest.raises(StoreKeyError, match="not a store key"):
        store.delete(key)
    if key:
        with pytest.raises(StoreKeyError, match="not a store key"):
            store.list(key)


def test_a_missing_source_file_stores_nothing(store: Store, tmp_path: Path) -> None:
    """A source that does not exist is the caller's file, not a missing key."""
    with pytest.raises(DataError, match="cannot store"):
        store.put("a", tmp_path / "absent")
    assert store.list() == ()


def test_directories_travel_whole(store: Store, tmp_path: Path) -> None:
    """A directory goes up with its manifest last and comes back as it was, replacing what lay there."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "manifest.json").write_text("{}")
    (source / "zz.npz").write_bytes(b"later in the alphabet")
    (source / "deep" / "er" / "x").write_bytes(b"x")
    order: list[str] = []
    put = store.put

    def noted(key: str, source: bytes | Path) -> None:
        order.append(key)
        put(key, source)

    store.put = noted  # type: ignore[method-assign]  # spying
    assert store.upload_directory(source, "models/1") == 3
    assert order[-1] == "models/1/manifest.json"
    target.mkdir()
    (target / "stale").write_text("from before")
    assert store.download_directory("models/1", target) == 3
    files = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert files == {"manifest.json": b"{}", "zz.npz": b"later in the alphabet", "deep/er/x": b"x"}


def test_a_directory_goes_with_the_file_first_that_readers_look_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All below the folder goes and nothing beside it; what an interruption left is removed by the next call."""
    for key in ("m/1/manifest.json", "m/1/a", "m/1/deep/er/x", "m/10/manifest.json", "m/2"):
        store.put(key, b"x")
    order, delete = list[str](), type(store).delete

    def noted(self: Store, key: str) -> None:
        order.append(key)
        delete(self, key)

    monkeypatch.setattr(type(store), "delete", noted)
    store.delete_directory("m/1")
    assert order[0] == "m/1/manifest.json"
    assert store.list() == ("m/10/manifest.json", "m/2")
    store.put("m/1/left", b"x")
    store.delete_directory("m/1")
    store.delete_directory("m/1")
    assert store.list() == ("m/10/manifest.json", "m/2")


def test_a_bundle_that_goes_leaves_no_empty_folder(tmp_path: Path) -> None:
    """Nor what a killed writer left in it."""
    store = open_store(str(tmp_path))
    store.put("m/1/deep/x", b"x")
    (tmp_path / "m/1/.x.abcdefgh").write_bytes(b"half")
    store.delete_directory("m/1")
    assert [path.name for path in tmp_path.rglob("*")] == ["m"]


def test_an_absent_directory_is_named(store: Store, tmp_path: Path) -> None:
    """Downloading nothing, or uploading an empty directory, is an error and leaves the target as it was."""
    with pytest.raises(StoreKeyError, match=r"nothing below .*models/9"):
        store.download_directory("models/9", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        store.upload_directory(tmp_path / "empty", "models/9")


def test_the_address_of_a_folder_opens_it(store: Store, s3: S3Settings) -> None:
    """What ``uri`` says of a folder is what ``open_store`` takes: a ledger can hold it."""
    store.put("models/1/x", b"x")
    assert open_store(store.uri("models/1"), s3).get("x") == b"x"


def test_a_killed_writer_leaves_nothing_visible(tmp_path: Path) -> None:
    """A process killed in the middle of a put leaves the old value, and no key that a reader could see."""
    store = open_store(str(tmp_path))
    store.put("a/b", b"old")
    script = (
        "import os, signal, sys\n"
        "import serving.store.directory as module\n"
        "def dying(source, path):\n"
        "    path.write_bytes(source[:2]); os.kill(os.getpid(), signal.SIGKILL)\n"
        "module._copy = dying\n"
        "module.DirectoryStore(module.Path(sys.argv[1])).put(sys.argv[2], b'new value')\n"
    )
    for key in ("a/b", "a/c"):
        assert subprocess.run([sys.executable, "-c", script, str(tmp_path), key], check=False).returncode == -9
    assert store.list() == ("a/b",)
    assert store.get("a/b") == b"old"


def test_a_key_and_a_folder_cannot_share_a_name(tmp_path: Path) -> None:
    """A directory cannot hold both "a" and "a/b"; the second is refused with the reason."""
    store = open_store(str(tmp_path))
    store.put("a", b"x")
    store.put("b/c", b"x")
    for key in ("a/b", "b"):
        with pytest.raises(StoreKeyError, match="share one name"):
            store.put(key, b"y")
    assert store.list() == ("a", "b/c")


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk says so and names the remedy."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    monkeypatch.setattr(store_directory, "_copy", lambda source, path: Path("/dev/full").write_bytes(b"x" * 100_000))
    store = open_store(str(tmp_path))
    with pytest.raises(PlaceError, match="the disk is full"):
        store.put("a", b"x")
    assert list(tmp_path.iterdir()) == []


def unused_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("call", ["put", "get", "list", "delete", "exists"])
def test_an_unreachable_endpoint_is_named(call: str) -> None:
    """Nothing listening is an infrastructure error that names the endpoint, after bounded retries."""
    endpoint = unused_endpoint()
    store = open_store("s3://models", S3Settings(endpoint, "key", "secret", secure=False))
    arguments = ("a", b"x") if call.startswith("put") else ("a",)
    with pytest.raises(InfrastructureError, match=f"{endpoint} does not answer for s3://models/a: .*refused"):
        getattr(store, call)(*arguments)


def test_an_absent_bucket_is_named(s3: S3Settings) -> None:
    """Writing to a bucket that does not exist says which one."""
    store = open_store("s3://absent/x", s3)
    for act in (
        lambda: store.put("a", b"x"),
        lambda: store.get("a"),
        store.list,
    ):
        with pytest.raises(ConfigError, match="no bucket 'absent'"):
            act()


@pytest.mark.parametrize(
    "uri",
    ["", "ftp://x/y", "s3://", "s3:///key", "file://host/dir", "file://"],
)
def test_unknown_addresses_are_refused(uri: str) -> None:
    """An address of no store says what was expected."""
    with pytest.raises(ConfigError, match="expected 's3://bucket/prefix'"):
        open_store(uri, S3Settings("h:1", "a", "b"))


def test_a_bucket_needs_settings() -> None:
    """Without an endpoint and key a bucket cannot be opened, and the secret never shows in a log."""
    with pytest.raises(ConfigError, match="endpoint and key"):
        open_store("s3://models")
    assert "hush" not in repr(S3Settings("h:1", "a", "hush"))
    with pytest.raises(ConfigError, match="without a scheme"):
        S3Settings("http://h:1", "a", "b")


def test_settings_come_from_a_mounted_secret(tmp_path: Path) -> None:
    """Each file of a mounted secret is one value; a missing one is named."""
    for name, value in {"endpoint": "minio:9000\n", "access_key": "a", "secret_key": "b", "secure": "False"}.items():
        (tmp_path / name).write_text(value)
    assert S3Settings.from_files(tmp_path) == S3Settings("minio:9000", "a", "b", secure=False)
    (tmp_path / "ca.crt").write_text("pem")
    assert S3Settings.from_files(tmp_path).ca_file == tmp_path / "ca.crt"
    (tmp_path / "secure").write_text("maybe")
    with pytest.raises(ConfigError, match="expected true or false, seen 'maybe'"):
        S3Settings.from_files(tmp_path)
    (tmp_path / "access_key").unlink()
    (tmp_path / "secure").unlink()
    with pytest.raises(ConfigError, match="no file 'access_key'"):
        S3Settings.from_files(tmp_path)

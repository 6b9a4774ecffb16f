"""Where bundles and snapshots are kept, chosen by address: a directory, or a bucket of any S3 service.

    open_store("/var/slipway")           a directory, also "file:///var/slipway"
    open_store("s3://bucket/prefix", s3) a bucket; *s3* says which service and with which key

Nobody downstream can tell which it is.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import minio
import urllib3
from minio.error import MinioException, S3Error

from serving.errors import ConfigError, InfrastructureError
from serving.files import CHUNK, whole_file
from serving.store_directory import DirectoryStore, Source, Store, StoreKeyError, checked_key, checked_source

__all__ = ["DirectoryStore", "S3Settings", "S3Store", "Store", "StoreKeyError", "open_store"]

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 30.0
RETRIES = 2  # an endpoint that is down is reported after about six seconds
CONFLICTS = 5  # conditional writes that meet another one in flight are told to come again
MISSING = {"NoSuchKey", "NoSuchObject", "NotFound"}
DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


@dataclass(frozen=True)
class S3Settings:
    """An S3 service and the key to it.

    Attributes:
        endpoint: host and port, ``minio.kubeflow:9000``; ``secure`` says whether TLS is spoken there.
        ca_file: PEM file of the authority that signed the endpoint's certificate; None trusts the system's.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    secure: bool = True
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if "://" in self.endpoint or not self.endpoint:
            raise ConfigError(
                f"S3 endpoint {self.endpoint!r}: expected host:port without a scheme; plain http is secure=False"
            )

    @classmethod
    def from_files(cls, directory: Path) -> Self:
        """Read a mounted secret: files ``endpoint``, ``access_key``, ``secret_key``, and if wanted ``region``,
        ``secure`` (true or false) and ``ca.crt``."""

        def text(name: str, default: str | None = None) -> str:
            path = directory / name
            if path.is_file():
                return path.read_text(encoding="utf-8").strip()
            if default is None:
                raise ConfigError(f"the S3 secret {directory} has no file {name!r}; mount one that has it")
            return default

        secure = text("secure", "true").lower()
        if secure not in ("true", "false"):
            raise ConfigError(f"{directory / 'secure'}: expected true or false, seen {secure!r}")
        ca_file = directory / "ca.crt"
        return cls(
            endpoint=text("endpoint"),
            access_key=text("access_key"),
            secret_key=text("secret_key"),
            region=text("region", "us-east-1"),
            secure=secure == "true",
            ca_file=ca_file if ca_file.is_file() else None,
        )


def open_store(uri: str, s3: S3Settings | None = None) -> Store:
    """The store at *uri*; nothing is contacted or created before the first use.

    Raises:
        ConfigError: the scheme is unknown, the bucket is not named, or *s3* is missing for an ``s3://`` address.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator and uri:
        return DirectoryStore(Path(uri))
    parts = urlsplit(uri)
    if scheme == "file" and parts.path and parts.netloc in ("", "localhost"):
        return DirectoryStore(Path(unquote(parts.path)))
    if scheme == "s3" and parts.netloc:
        if s3 is None:
            raise ConfigError(f"store {uri!r} needs an S3 endpoint and key; set them in the settings")
        return S3Store(parts.netloc, parts.path.strip("/"), s3)
    raise ConfigError(f"no store for {uri!r}: expected 's3://bucket/prefix', 'file:///directory' or a path")


def conditional_put_works(store: Store, key: str = "conditional-put-probe") -> bool:
    """Whether ``put_if_absent`` on this service really refuses the second writer; some old S3 services accept both."""
    try:
        return store.put_if_absent(key, b"first") and not store.put_if_absent(key, b"second")
    finally:
        store.delete(key)


class S3Store(Store):
    """Keys as objects below a prefix of one bucket, which must exist."""

    def __init__(self, bucket: str, prefix: str, settings: S3Settings) -> None:
        self.bucket = bucket
        self.prefix = checked_key(prefix) if prefix else ""
        self.endpoint = settings.endpoint
        self._http = _pool(settings)
        try:
            self._client = minio.Minio(
                settings.endpoint,
                access_key=settings.access_key,
                secret_key=settings.secret_key,
                region=settings.region,  # known, so that no call is spent on asking for it
                secure=settings.secure,
                http_client=self._http,
            )
        except ValueError as error:
            raise ConfigError(f"S3 endpoint {settings.endpoint!r}: {error}; expected host:port") from error

    def put(self, key: str, source: Source) -> None:
        name = self._object(key)
        checked_source(source)
        with self._told(key):
            if isinstance(source, bytes):
                self._client.put_object(self.bucket, name, io.BytesIO(source), len(source))
            else:
                self._client.fput_object(self.bucket, name, str(source))

    def put_if_absent(self, key: str, source: Source) -> bool:
        name = self._object(key)
        checked_source(source)
        with self._told(key):
            # The client has no parameter for the condition; a presigned address takes any header.
            url = self._client.get_presigned_url("PUT", self.bucket, name, expires=timedelta(minutes=15))
            for _ in range(CONFLICTS):
                status, code = self._put_new(url, source)
                if status in (200, 412):
                    return status == 200
                if status != 409:
                    raise self._failure(key, code, f"answered {status}")
        raise InfrastructureError(
            f"{self.uri(key)}: {self.endpoint} keeps answering that another write is in flight; try again"
        )

    def get(self, key: str) -> bytes:
        name = self._object(key)
        with self._told(key), self._reading(name) as response:
            data: bytes = response.read()
            return data

    def list(self, prefix: str = "") -> tuple[str, ...]:
        folder = self._object(prefix) if prefix else self.prefix
        with self._told(prefix):
            found = self._client.list_objects(self.bucket, prefix=f"{folder}/" if folder else None, recursive=True)
            names = [str(item.object_name) for item in found]
        start = f"{self.prefix}/" if self.prefix else ""
        return tuple(sorted(name.removeprefix(start) for name in names if not name.endswith("/")))

    def delete(self, key: str) -> None:
        name = self._object(key)
        with self._told(key):
            self._client.remove_object(self.bucket, name)

    def download(self, key: str, path: Path) -> None:
        name = self._object(key)
        with (
            self._told(key),
            self._reading(name) as response,
            whole_file(path) as temporary,
            temporary.open("wb") as target,
        ):
            for chunk in response.stream(CHUNK):
                target.write(chunk)

    def exists(self, key: str) -> bool:
        name = self._object(key)
        try:
            with self._told(key):
                self._client.stat_object(self.bucket, name)
        except StoreKeyError:
            return False
        return True

    def uri(self, key: str = "") -> str:
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix, key) if part)

    def _object(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}" if self.prefix else checked_key(key)

    def _put_new(self, url: str, source: Source) -> tuple[int, str]:
        """Status and error code of one conditional write; never repeated once sent, since a repeat would be refused."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        headers = {"If-None-Match": "*", "Content-Length": str(size)}
        once = urllib3.Retry(connect=RETRIES, read=0, status=0, other=0, redirect=0, total=None)
        with contextlib.ExitStack() as stack:
            body = source if isinstance(source, bytes) else stack.enter_context(source.open("rb"))
            response = self._http.request("PUT", url, body=body, headers=headers, retries=once)
        code = response.data.decode(errors="replace").partition("<Code>")[2].partition("</Code>")[0]
        return response.status, code

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[Any]:
        response = self._client.get_object(self.bucket, name)
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            raise self._failure(key, str(error.code), str(error.message)) from error
        except MinioException as error:
            raise self._failure(key, "", str(error)) from error
        except urllib3.exceptions.HTTPError as error:
            cause = _innermost(error)
            raise InfrastructureError(
                f"the S3 endpoint {self.endpoint} does not answer for {self.uri(key)}: {cause}; "
                "check the address and that the service runs"
            ) from error

    def _failure(self, key: str, code: str, message: str) -> Exception:
        if code in MISSING:
            return StoreKeyError(f"no {key!r} in the store {self.uri()}; it was never put there or is deleted")
        if code == "NoSuchBucket":
            return ConfigError(f"{self.endpoint} has no bucket {self.bucket!r}; create it or name another")
        if code in DENIED:
            return ConfigError(f"{self.endpoint} refuses the key for {self.uri(key)}: {code}; check the S3 credentials")
        return InfrastructureError(f"{self.endpoint} failed for {self.uri(key)}: {code} {message}".rstrip())


def _pool(settings: S3Settings) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        maxsize=10,
        cert_reqs="CERT_REQUIRED",
        ca_certs=str(settings.ca_file) if settings.ca_file else None,
        retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )


def _innermost(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return _innermost(reason) if isinstance(reason, BaseException) else str(error).partition(": ")[2] or str(error)

"""The store that is a bucket of an S3 service; loaded only for an address of ``s3://``, since its client is slow."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minio
import urllib3
from minio.error import MinioException, S3Error

from serving.errors import ConfigError, InfrastructureError
from serving.files import CHUNK, whole_file
from serving.store.directory import Source, Store, StoreKeyError, checked_key, checked_source
from serving.store.settings import S3Settings

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 30.0
RETRIES = 2  # an endpoint that is down is reported after about six seconds
MISSING = {"NoSuchKey", "NoSuchObject", "NotFound"}
DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


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

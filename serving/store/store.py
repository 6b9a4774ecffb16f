"""Where bundles and snapshots are kept, chosen by address: a directory, or a bucket of any S3 service.

    open_store("/var/slipway")           a directory, also "file:///var/slipway"
    open_store("s3://bucket/prefix", s3) a bucket; *s3* says which service and with which key

Nobody downstream can tell which it is.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from serving.errors import ConfigError
from serving.store.directory import DirectoryStore, Store, StoreKeyError
from serving.store.settings import S3Settings

__all__ = ["DirectoryStore", "S3Settings", "Store", "StoreKeyError", "open_store"]


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
        from serving.store.s3 import S3Store  # its client takes a second to load, and a directory needs none

        return S3Store(parts.netloc, parts.path.strip("/"), s3)
    raise ConfigError(f"no store for {uri!r}: expected 's3://bucket/prefix', 'file:///directory' or a path")

"""Values that are too long for a parameter, which travels inside one argument of a command line: they go by address."""

import re

from serving.errors import DataError
from serving.files import sha256_bytes
from serving.store.store import S3Settings, open_store

_PUT = re.compile(r"[0-9a-f]{64}\.json")


def put(text: str, store: str, s3: S3Settings | None = None) -> str:
    """Write *text* to *store* under its digest and return its address."""
    data = text.encode()
    key = f"carried/{sha256_bytes(data)}.json"
    where = open_store(store, s3)
    where.put(key, data)
    return where.uri(key)


def read(address: str, s3: S3Settings | None = None) -> str:
    """The text at *address*, which ``put`` gave or somebody wrote.

    Raises:
        DataError: it is not what was put there.
    """
    folder, _, name = address.rpartition("/")
    data = open_store(folder, s3).get(name)
    if _PUT.fullmatch(name) and sha256_bytes(data) != name.removesuffix(".json"):
        raise DataError(f"{address} was changed after it was written; start the run again")
    return data.decode()

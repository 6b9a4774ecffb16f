"""The verification stage on paths: the candidate in the real model server, before it is registered."""

from pathlib import Path

from components.judging.verification import verify as verify_server
from components.steps.keys import trusted_keys
from components.steps.telling import tell
from serving.bundle.bundle import open_bundle


def verify(name: str, key: str, bundle: str) -> str:
    """Ask the candidate in a real model server; returns what it did as JSON."""
    trusted = trusted_keys(key)
    seen = verify_server(name, Path(bundle), open_bundle(Path(bundle), trusted, deep=True), trusted[0].pem)
    tell(seen.sentence)
    return seen.model_dump_json()

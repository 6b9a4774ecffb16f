"""What tests register; everything has a default, so a test says only what it is about."""

from typing import Any

from serving.ledger.details import Registered


def facts(digest: str, bundle_uri: str = "file:///b", **changes: Any) -> Registered:
    usual: dict[str, Any] = {"run_id": "01", "snapshot": "s", "metrics": {}, "provenance": {}}
    return Registered(digest=digest, bundle_uri=bundle_uri, **(usual | changes))

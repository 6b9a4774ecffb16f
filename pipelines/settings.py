"""Where things are: the only reader of the environment.

Each concern is a URI, so that a laptop and a cluster differ by values alone. The home directory holds all of it on one
machine; ``SLIPWAY_*`` variables or flags name other places.
"""

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.steps.place import Place

DEFAULT_HOME = ".slipway"


def load(home: str | None = None, environment: Mapping[str, str] | None = None, **overrides: Any) -> "Place":
    """The place to work in: flags win over ``SLIPWAY_*`` variables, which win over what lies below *home*."""
    from components.steps.place import Place

    given = {name: value for name, value in overrides.items() if value is not None}
    return Place.model_validate(values(home, environment) | given)


def values(home: str | None = None, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The fields of the place, for who needs one of them and not the library that checks them all."""
    seen = os.environ if environment is None else environment
    root = Path(home or seen.get("SLIPWAY_HOME", DEFAULT_HOME)).absolute()
    below = {
        "ledger": f"sqlite:///{root}/ledger.db",
        "tracking": f"sqlite:///{root}/mlflow/mlflow.db",
        "store": f"file://{root}/models",
        "serving": f"file://{root}/serving",
        "key": f"file://{root}/keys",
        "s3_secrets": "",
        "rollout_webhook": "",
        "actor": _actor(seen),
    }
    found = {name: seen.get(f"SLIPWAY_{name.upper()}", usual) for name, usual in below.items()}
    return {"home": str(root), **found}


def _actor(environment: Mapping[str, str]) -> str:
    """Who acts, for the audit trail; a container without a user name is 'uid N'."""
    try:
        return environment.get("USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"

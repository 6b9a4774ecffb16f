"""Where things are: the only reader of the environment.

Each concern is a URI, so that a laptop and a cluster differ by values alone. The home directory holds all of it on one
machine; ``SLIPWAY_*`` variables or flags name other places.
"""

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.steps.place import Place

DEFAULT_HOME = ".slipway"


def load(home: str | None = None, environment: Mapping[str, str] | None = None, **overrides: Any) -> Place:
    """The place to work in: flags win over ``SLIPWAY_*`` variables, which win over what lies below *home*."""
    seen = os.environ if environment is None else environment
    root = Path(home or seen.get("SLIPWAY_HOME", DEFAULT_HOME)).absolute()
    values: dict[str, Any] = {
        "home": str(root),
        "ledger": f"sqlite:///{root}/ledger.db",
        "tracking": f"sqlite:///{root}/mlflow/mlflow.db",
        "store": f"file://{root}/models",
        "serving": f"file://{root}/serving",
        "key": f"file://{root}/keys",
        "actor": _actor(seen),
    }
    for name in Place.model_fields:
        if (value := seen.get(f"SLIPWAY_{name.upper()}")) is not None:
            values[name] = value
    values.update({name: value for name, value in overrides.items() if value is not None})
    values["home"] = str(root)
    return Place.model_validate(values)


def _actor(environment: Mapping[str, str]) -> str:
    """Who acts, for the audit trail; a container without a user name is 'uid N'."""
    try:
        return environment.get("USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"

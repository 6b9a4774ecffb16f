"""The file of a project: which one a command means, its YAML, and the name in it.

Apart from ``project.py``, because who only needs the name shall not pay for the libraries that check the rest, and a
rollout can be ended while somebody is editing the file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.errors import ConfigError
from serving.files import write_text

NAME = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"  # a Kubernetes label, short enough for the suffixes that are added
FILE = "project.yaml"
_LAST = "project"


def find(named: Path | None, home: Path) -> Path:
    """*named*, else ``./project.yaml``, else the project of the last run in *home*.

    Raises:
        ConfigError: there is none of them.
    """
    if named is not None:
        return named
    if (here := Path(FILE)).exists():
        return here
    last = home / _LAST
    if last.exists():
        return Path(last.read_text(encoding="utf-8").strip())
    raise ConfigError(
        f"which project? expected --project FILE, a {FILE} in this directory, or an earlier run in {home}; found none"
    )


def remember(path: Path, home: Path) -> None:
    """Make *path* the project of the last run in *home*."""
    write_text(home / _LAST, f"{path.absolute()}\n")


def read(path: Path) -> Any:
    """What *path* says as YAML.

    Raises:
        ConfigError: the file is missing, unreadable or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no project file {path}; name one with --project") from error
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read project file {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def name(path: Path) -> str:
    """The model's name in *path*; nothing else of it is looked at.

    Raises:
        ConfigError: as ``read``, or there is no name that a model can have.
    """
    value = read(path)
    found = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(found, str) or re.fullmatch(NAME, found) is None:
        raise ConfigError(f"{path}: name: expected lower-case letters, digits and dashes, at most 40, got {found!r}")
    return found

"""Which packages of ``requirements.lock`` each image gets, with their hashes, and what it contains as a CycloneDX list.

``python images/subset.py`` writes ``images/<image>.lock`` and ``images/<image>.cdx.json``. A build then installs a
short list and computes nothing. The closure is taken from the metadata of what is installed here, which is the lock;
markers are judged for the Python and the platform of the images, not for those of this machine.
"""

import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
IMAGES = {
    "serving": ("serve",),
    "pipeline": ("pipeline", "serve", "tune", "boosting", "mlflow", "cluster"),
}
# What an image goes without although a package in it asks for it, and why.
WITHOUT: dict[str, dict[str, str]] = {
    "serving": {
        "sqlalchemy": "the ledger is not in a pod of a model",
        "alembic": "nor are its migrations",
        "kubernetes": "nor is a client of the cluster",
        "pyyaml": "a bundle is JSON; numba would read its settings from YAML",
    }
}
# What an image has without anything that it asks for, and why.
ALONE: dict[str, dict[str, str]] = {
    "serving": {"kserve": "its definition of the protocol is read; of its code, which needs all the rest, nothing runs"}
}
BUILD = ("setuptools",)  # makes the wheel of this project; in no image
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "linux",
}

Requires = Callable[[str], Iterable[str]]


def closure(
    roots: Iterable[Requirement], requires: Requires, without: Container[str] = (), alone: Container[str] = ()
) -> frozenset[str]:
    """Canonical names of *roots* and of all that they need on ``PLATFORM``, extras included.

    Args:
        requires: gives a package's ``Requires-Dist`` lines.
        without: names that are left out, with what only they need.
        alone: names whose needs are not looked at.
    """
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "") for root in roots]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**PLATFORM, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name in without:
            continue
        names.add(name)
        if name in alone:
            continue
        for wanted in ("", *sorted(requirement.extras)):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(line), wanted) for line in requires(name)]
    return frozenset(names)


def entries(lock: str) -> dict[str, str]:
    """Text of each package of *lock* for ``PLATFORM``, hashes included, by canonical name."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        requirement = Requirement(block.split("\\")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(PLATFORM):
            found[canonicalize_name(requirement.name)] = block.rstrip()
    return found


def subset(names: Iterable[str], lock: Mapping[str, str]) -> str:
    """The part of *lock* that holds *names*.

    Raises:
        KeyError: a name is not in the lock: it was resolved from another pyproject.toml.
    """
    return "".join(lock[name] + "\n" for name in sorted(names))


def roots(project: Mapping[str, object], extras: Iterable[str]) -> list[Requirement]:
    """What pyproject.toml asks for with *extras*; an extra that it does not have is empty."""
    table = project["project"]
    assert isinstance(table, dict)  # noqa: S101 - the shape of every pyproject.toml
    optional = table["optional-dependencies"]
    lines = [*table["dependencies"], *(line for extra in extras for line in optional.get(extra, ()))]
    return [Requirement(line) for line in lines]


def bill(image: str, lock: str) -> dict[str, object]:
    """A CycloneDX bill of materials of the Python packages of *lock*; equal locks give equal bills."""
    components = []
    for block in entries(lock).values():
        requirement = Requirement(block.split("\\")[0].strip())
        version = str(requirement.specifier).removeprefix("==")
        purl = f"pkg:pypi/{canonicalize_name(requirement.name)}@{version}"
        components.append(
            {"type": "library", "name": requirement.name, "version": version, "purl": purl, "bom-ref": purl}
        )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"slipway-{image}"}},
        "components": components,
    }


def files(root: Path = ROOT) -> dict[str, str]:
    """Name below ``images/`` to text."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    lock = entries((root / "requirements.lock").read_text(encoding="utf-8"))
    made = {"build.lock": subset(BUILD, lock)}
    for image, extras in IMAGES.items():
        needed = roots(project, extras)
        wanted = closure(needed, installed_requires, WITHOUT.get(image, {}), ALONE.get(image, {}))
        made[f"{image}.lock"] = subset(wanted, lock)
        made[f"{image}.cdx.json"] = json.dumps(bill(image, made[f"{image}.lock"]), indent=1) + "\n"
    return made


def installed_requires(name: str) -> Iterable[str]:
    return importlib.metadata.requires(name) or ()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from serving.files import write_text

    for file, text in files().items():
        write_text(ROOT / "images" / file, text)
        if file.endswith(".lock"):
            print(f"{file:<16} {text.count('==')} packages")

"""What a run was made with: the code's commit, the interpreter and its libraries, the lock they came from."""

import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from serving.contract import Frozen
from serving.files import sha256_file

UNKNOWN = "unknown"
GIT_TIMEOUT_S = 10.0


class CodeVersion(Frozen):
    """The commit of a repository, or "unknown"; *dirty* when files differ from it, None when that is unknown."""

    commit: str = UNKNOWN
    dirty: bool | None = None


class Environment(Frozen):
    """Interpreter and library versions, and the sha256 of the lock file, "unknown" without one."""

    python: str
    libraries: dict[str, str]
    lock: str = UNKNOWN


def code_version(repository: Path) -> CodeVersion:
    """The code of *repository* as git knows it; everything "unknown" without git, a repository or a commit."""
    commit = _git(repository, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return CodeVersion()
    changes = _git(repository, "status", "--porcelain", "--untracked-files=normal")
    return CodeVersion(commit=commit, dirty=None if changes is None else bool(changes))


def environment(libraries: Iterable[str], lock: Path | None = None) -> Environment:
    """This interpreter with the installed ones of *libraries*, by distribution name; absent ones are left out."""
    return Environment(
        python=platform.python_version(),
        libraries={name: version for name in sorted(set(libraries)) if (version := _installed(name)) is not None},
        lock=sha256_file(lock) if lock is not None and lock.is_file() else UNKNOWN,
    )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(repository: Path, *arguments: str) -> str | None:
    # Optional locks off: a status must not contend with a person's git in the same checkout.
    command = ["git", "--no-optional-locks", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(  # noqa: S603  # fixed words and a path, no shell
            command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def record_id(project: str, run_id: str, digest: str) -> str:
    """What MLflow's run carries as ``slipway.run_id``: known without MLflow, so that a version names its record."""
    return f"{project}-{run_id}-{digest[:12]}"

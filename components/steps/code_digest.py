"""One digest of the code that steps run: a pipeline passes it on as a parameter, and so it counts for every cache.

``python -m components.steps.code_digest`` prints it and the commit as annotations for what is deployed.
"""

from pathlib import Path

from serving.files import sha256_files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("components", "serving")
LOCK = "requirements.lock"


def code_digest(root: Path | None = None) -> str:
    """sha256 over the Python files of ``components`` and ``serving`` and the lock of the libraries, by relative name.

    *root* is the folder that holds the packages, by default the one this file was loaded from. An installed copy has
    no lock beside it; the digest then covers the code alone.
    """
    root = root or ROOT
    files = [file for package in PACKAGES for file in (root / package).rglob("*.py")]
    files += [root / LOCK] if (root / LOCK).is_file() else []
    return sha256_files(root, files)


if __name__ == "__main__":
    from components.steps.provenance import code_version

    version = code_version(ROOT)
    print(f"slipway.dev/code={code_digest()} slipway.dev/commit={version.commit}{'+changes' if version.dirty else ''}")

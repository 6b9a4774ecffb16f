"""``python -m pipelines.deploying.image_tag NAME``: the name of an image of ours, by a digest of what it is made of.

Equal content gives an equal tag on every machine, so nothing is built or loaded twice, and an image in a cluster says
which code it is. ``latest`` is never used: a kubelet would want to pull it. What is built of a release of others keeps
the name that it has in ``manifests/images.yaml``.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.checkout import ROOT
from pipelines.deploying import images
from serving.errors import UsageError
from serving.files import canonical_json, sha256_bytes, sha256_file

LENGTH = 12
CONTENT = {
    "serving": (
        "images/serving.Dockerfile",
        "images/serving.lock",
        "images/serving.cdx.json",
        "images/serve",
        "serving",
    ),
    "pipeline": (
        "images/pipeline.Dockerfile",
        "images/pipeline.lock",
        "images/pipeline.cdx.json",
        "images/build.lock",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "serving",
        "components",
        "pipelines",
    ),
    "minio": ("images/minio.Dockerfile",),
}
NAMES = {"serving": "slipway-serving", "pipeline": "slipway-python", "minio": "minio"}
STANDS = ":dev"  # for the digest, in a manifest


def tag(image: str, root: Path = ROOT, base: str = "") -> str:
    """The tag of *image* (``serving``, ``pipeline`` or ``minio``) built from *root* on *base*.

    Raises:
        UsageError: there is no such image.
    """
    if image not in CONTENT:
        raise UsageError(f"no image {image!r}; there are {', '.join(CONTENT)}")
    digests = {
        path.relative_to(root).as_posix(): [sha256_file(path), bool(path.stat().st_mode & 0o100)]
        for path in sorted(_files(root, CONTENT[image]))
    }
    return sha256_bytes(canonical_json({"base": base, "files": digests}))[:LENGTH]


def listed(image: str, known: Iterable[str]) -> str:
    """The one of *known*, the references of ``manifests/images.yaml``, that stands for *image*."""
    return next(one for one in known if images.name(one) == NAMES[image])


def reference(image: str, base: str = "") -> str:
    """The name of *image* below a registry; what is a release of others keeps its tag."""
    digest = tag(image, base=base)
    one = listed(image, images.table(images.TABLE.read_text(encoding="utf-8")))
    return f"{images.name(one)}:{digest}" if one.endswith(STANDS) else images.short(one)


def _files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files that .dockerignore lets through."""
    for name in names:
        place = root / name
        if place.is_dir():
            yield from (path for path in place.rglob("*") if path.is_file() and not _left_out(path.relative_to(root)))
        elif place.is_file():
            yield place


def _left_out(path: Path) -> bool:
    return "__pycache__" in path.parts or path.suffix == ".pyc" or path.name == ".DS_Store"


if __name__ == "__main__":
    try:
        print(reference(*sys.argv[1:3]))
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

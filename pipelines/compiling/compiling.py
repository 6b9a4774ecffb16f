"""Pipeline functions to compiled packages: the same bytes wherever, whenever and by whomever they are compiled."""

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.checkout import PIPELINES
from pipelines.compiling.ir import check
from serving.files import write_bytes

IMAGE = "slipway-python:dev"  # what steps are compiled with; a submission names the real one by digest
SDK_VERSION = "kfp-2.17.0"  # servers read the field; a patch release of the SDK must not change our bytes


def graphs() -> dict[Any, Path]:
    """Every pipeline function of the project, and its committed package."""
    from pipelines.score import score
    from pipelines.train import train

    return {train: PIPELINES / "train.yaml", score: PIPELINES / "score.yaml"}


def compile_bytes(pipeline: Callable[..., Any]) -> bytes:
    """The package of *pipeline*, a function decorated with ``@dsl.pipeline``.

    Raises:
        ConfigError: it uses a construct of KFP that a run on this machine would not follow; the message names it.
    """
    documents = _documents(pipeline)
    check(documents[0])
    return dump_package(documents)


def compile_package(pipeline: Callable[..., Any], path: Path) -> None:
    """Write the package of *pipeline* to *path*."""
    write_bytes(path, compile_bytes(pipeline))


def is_current(pipeline: Callable[..., Any], path: Path) -> bool:
    """Whether *path* holds exactly what *pipeline* compiles to now."""
    return path.is_file() and path.read_bytes() == compile_bytes(pipeline)


def read_package(data: bytes) -> list[dict[str, Any]]:
    """The YAML documents of a package: the pipeline, and if there is one the settings for Kubernetes."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(data, Loader=loader))


def with_image(package: bytes, image: str) -> bytes:
    """*package* with its steps in *image*, which should carry a digest: a cluster caches by the image's name.

    Steps compiled for another image than ``IMAGE`` keep it.
    """
    documents = read_package(package)
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        if container.get("image") == IMAGE:
            container["image"] = image
    return dump_package(documents)


def _documents(pipeline: Callable[..., Any]) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about Python versions, at every import
        from kfp import compiler
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "package.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        documents = read_package(file.read_bytes())
    documents[0]["sdkVersion"] = SDK_VERSION
    return documents


def dump_package(documents: Sequence[Mapping[str, Any]]) -> bytes:
    """The bytes of a package: equal documents, equal bytes."""
    text = yaml.safe_dump_all(
        documents, sort_keys=True, allow_unicode=True, width=120, explicit_start=len(documents) > 1
    )
    return text.encode()

"""Example pipelines by name."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import yaml

from pipelines.compiling.compiling import compile_package

HERE = Path(__file__).parent


def load(name: str) -> ModuleType:
    """The module of examples *name*; kfp reads the source of its components, so it must come from a file."""
    known = sys.modules.get(f"kfp_example_{name}")
    if known:
        return known
    spec = importlib.util.spec_from_file_location(f"kfp_example_{name}", HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def compiled(module: str, pipeline: str, directory: Path) -> Path:
    """The package of one example, as ``slipway compile`` writes it."""
    path = directory / f"{pipeline}.yaml"
    compile_package(getattr(load(module), pipeline), path)
    return path


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))

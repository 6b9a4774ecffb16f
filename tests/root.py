"""The checkout that is tested."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOUSING = ROOT / "pipelines/housing/project.yaml"
CANCER = ROOT / "pipelines/breast_cancer/project.yaml"

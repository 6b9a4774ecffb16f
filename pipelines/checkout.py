"""Where this project's own files are: the checkout, or the folder that an image unpacked it to."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ROOT / "pipelines"
MANIFESTS = ROOT / "manifests"

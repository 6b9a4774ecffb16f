"""All pipelines of the project and the compiled file beside each."""

from pathlib import Path
from typing import Any

from pipelines.checkout import PIPELINES


def graphs() -> dict[Any, Path]:
    """Pipeline function -> its committed package."""
    from pipelines.score import score
    from pipelines.train import train

    return {train: PIPELINES / "train.yaml", score: PIPELINES / "score.yaml"}

"""All pipelines of the project and the compiled file beside each."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def graphs() -> dict[Any, Path]:
    """Pipeline function -> its committed package."""
    from pipelines.score import score
    from pipelines.train import train

    return {train: HERE / "train.yaml", score: HERE / "score.yaml"}

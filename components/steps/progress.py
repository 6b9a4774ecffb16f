"""Where a step that works for long keeps what it has so far, so that its next attempt can go on from there."""

from pathlib import Path

FOLDER = ".progress"


def beside(output: str) -> Path:
    """The folder for it beside *output*: here the next attempt at the same step finds it, a pod's ends with the pod."""
    return Path(output).with_name(FOLDER).resolve()

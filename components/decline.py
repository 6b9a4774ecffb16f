"""Decline: what becomes of a candidate that the gate refused: it is recorded, and nothing else changes."""

from components.step import step


@step
def decline(name: str, run_id: str, digest: str) -> str:
    from components.recording.stages import decline as stage
    from components.steps.failing import told

    with told():
        return stage(name, digest)

"""Rollout: start the project's plan for a version and wait until it is promoted, rolled back, or waits for a person."""

from components.step import step


@step
def rollout(name: str, place: str, rollout: str, version: int, timeout_s: float) -> str:
    from components.recording.stage_release import rollout as stage
    from components.steps.failing import told

    with told():
        return stage(name, place, rollout, version, timeout_s)

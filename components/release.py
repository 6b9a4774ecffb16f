"""Release: a first version takes all traffic, a later one the project's first canary percentage."""

from components.step import step


@step
def release(name: str, run_id: str, place: str, rollout: str, version: int) -> str:
    from components.recording.stages import release as stage
    from components.steps.failing import told

    with told():
        return stage(name, place, rollout, version)

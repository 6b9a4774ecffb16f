"""Verify: the candidate in the real model server process answers its golden rows before it is registered."""

from kfp import dsl

from components.step import step


@step
def verify(name: str, key: str, code: str, digest: str, verdict: str, bundle: dsl.Input[dsl.Model]) -> str:
    from components.judging.stages import verify as stage
    from components.steps.failing import told

    with told():
        return stage(name, key, bundle.path)

"""Steps that end badly, that wait, and that are killed; each pipeline begins with a step worth keeping."""

import functools

from kfp import dsl
from kfp.dsl import Dataset, Output

step = functools.partial(
    dsl.component, base_image="slipway-python:dev", packages_to_install=[], install_kfp_package=False
)


@step
def prepare(data: Output[Dataset]) -> str:
    from pathlib import Path

    Path(data.path).write_text("prepared")
    return "ready"


@step
def fail(how: str, after: str) -> str:
    import os
    import signal
    import sys

    from components.steps.failing import told
    from serving.errors import DataError

    if how == "data":
        with told():
            raise DataError("the table is empty: expected rows, saw none; check the source")
    if how == "value":
        raise ValueError("the reason a person should see\nand more")
    if how == "early":
        sys.exit(0)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return "went well"


@dsl.pipeline(name="failing")
def failing(how: str):
    ready = prepare()
    fail(how=how, after=ready.outputs["Output"]).after(ready)
    later = prepare()
    later.after(ready)


@step
def wait(fifo: str, how: str, after: str) -> str:
    """Open *fifo*, which tells the test that the step runs, and hold it open: its end tells the test of the step's."""
    import os
    import signal

    if not os.path.exists(fifo):  # noqa: PTH110 - the test has taken it away: go on
        return "went on"
    with open(fifo, "w") as file:  # noqa: PTH123 - nothing else is imported in this step
        file.write("running")
        file.flush()
        if how == "kill the run":
            os.kill(os.getpgid(0), signal.SIGKILL)
        signal.pause()
    return "never"


@dsl.pipeline(name="waiting")
def waiting(fifo: str, how: str = "wait") -> str:
    ready = prepare()
    return wait(fifo=fifo, how=how, after=ready.outputs["Output"]).set_caching_options(False).output

"""Good KFP that a run on this machine would not follow to the letter, one small pipeline for each construct."""

import functools
from typing import List  # noqa: UP035 - kfp reads these from the source of a component

from kfp import dsl
from kfp.dsl import Dataset, Input

step = functools.partial(
    dsl.component, base_image="slipway-python:dev", packages_to_install=[], install_kfp_package=False
)


@step
def say(text: str) -> str:
    return text


@step
def count(data: Input[Dataset]) -> int:
    return 1


@step
def finish(status: dsl.PipelineTaskFinalStatus):
    print(status.state)


@dsl.container_component
def container():
    return dsl.ContainerSpec(image="slipway-python:dev", command=["echo"], args=["hello"])


@dsl.pipeline
def exit_handler():
    with dsl.ExitHandler(finish()):
        say(text="x")


@dsl.pipeline
def one_of():
    said = say(text="x")
    with dsl.If(said.output == "x"):
        first = say(text="1")
    with dsl.Else():
        second = say(text="2")
    say(text=dsl.OneOf(first.output, second.output))


@dsl.pipeline
def number_condition(number: int = 1):
    with dsl.If(number > 0):
        say(text="x")


@dsl.pipeline
def quote_in_condition():
    said = say(text="x")
    with dsl.If(said.output == "it's"):
        say(text="y")


@dsl.pipeline
def written_out_loop():
    with dsl.ParallelFor(["a", "b"]) as word:
        say(text=word)


@dsl.pipeline
def importing():
    count(data=dsl.importer(artifact_uri="s3://bucket/key", artifact_class=Dataset).output)


@dsl.pipeline
def tried_again():
    say(text="x").set_retry(2)


@dsl.pipeline
def job_name():
    say(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)


@dsl.pipeline
def text_around(words: List[str]):  # noqa: UP006 - kfp reads this form
    with dsl.ParallelFor(words) as word:
        say(text=f"a {word}")


@dsl.pipeline
def no_python():
    container()

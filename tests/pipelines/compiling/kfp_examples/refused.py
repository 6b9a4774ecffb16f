"""One small pipeline for each construct that the lint refuses; each is good KFP and compiles."""

import functools
from typing import List, NamedTuple, Optional  # noqa: UP035 - kfp reads these from the source of a component

from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Output

step = functools.partial(
    dsl.component, base_image="slipway-python:dev", packages_to_install=[], install_kfp_package=False
)


@step
def measure(level: int) -> NamedTuple("Out", [("verdict", str), ("names", list)]):
    from collections import namedtuple

    return namedtuple("Out", ["verdict", "names"])("good", ["a", "b"])


@step
def word() -> str:
    return "good"


@step
def words() -> list:
    return ["a", "b"]


@step
def say(text: str) -> str:
    return text


@step
def halve(number: float) -> float:
    return number / 2


@step
def make(data: Output[Dataset]):
    from pathlib import Path

    Path(data.path).write_text("x")


@step
def count(data: Input[Dataset]) -> int:
    return 1


@step
def finish(status: dsl.PipelineTaskFinalStatus):
    print(status.state)


@dsl.component(base_image="slipway-python:dev", install_kfp_package=False, packages_to_install=["tabulate"])
def installs() -> str:
    return ""


@dsl.component(base_image="slipway:dev", install_kfp_package=False)
def other_image() -> str:
    return ""


@dsl.container_component
def container():
    return dsl.ContainerSpec(image="slipway-python:dev", command=["echo"], args=["hello"])


@dsl.pipeline(name="named-condition")
def named_condition():
    measured = measure(level=1)
    with dsl.If(measured.outputs["verdict"] == "good"):
        say(text="good")


@dsl.pipeline(name="nested-condition")
def nested_condition(eager: bool = True):
    measured = measure(level=1)
    with dsl.If(eager == True):  # noqa: E712 - the comparison is recorded, not made
        say(text="eager")
        with dsl.If(measured.outputs["verdict"] == "good"):
            say(text="good")


@dsl.pipeline(name="named-loop")
def named_loop():
    measured = measure(level=1)
    with dsl.ParallelFor(measured.outputs["names"]) as name:
        say(text=name)


@dsl.pipeline(name="number-loop")
def number_loop(numbers: List[float] = [1.0, 2.0]):  # noqa: B006, UP006 - a pipeline's default is data
    with dsl.ParallelFor(numbers) as number:
        halve(number=number)


@dsl.pipeline(name="inner")
def inner_numbers(numbers: list) -> int:
    with dsl.ParallelFor(numbers) as number:
        halve(number=number)
    return count(data=make().outputs["data"]).output


@dsl.pipeline(name="repeat")
def repeat(names: list):
    with dsl.ParallelFor(names) as name:
        say(text=name)


@dsl.pipeline(name="nested-number-loop")
def nested_number_loop(numbers: list = [1.0, 2.0]):  # noqa: B006 - a pipeline's default is data
    inner_numbers(numbers=numbers)


@dsl.pipeline(name="one-of-artifacts")
def one_of_artifacts() -> Dataset:
    said = word()
    with dsl.If(said.output == "good"):
        first = make()
    with dsl.Else():
        second = make()
    return dsl.OneOf(first.outputs["data"], second.outputs["data"])


@dsl.pipeline(name="dangling")
def dangling(first: list = ["a"], second: list = ["b"]):  # noqa: B006 - a pipeline's default is data
    with dsl.ParallelFor(first) as outer, dsl.ParallelFor(second) as inner:
        say(text=f"{outer} and {inner}")


@dsl.pipeline(
    name="workspace",
    pipeline_config=dsl.PipelineConfig(
        workspace=dsl.WorkspaceConfig(
            size="1Gi", kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={"accessModes": ["ReadWriteOnce"]})
        )
    ),
)
def workspace():
    say(text=dsl.WORKSPACE_PATH_PLACEHOLDER)


@dsl.pipeline(name="job-time")
def job_time():
    say(text=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)


@dsl.pipeline(name="secret-env")
def secret_env():
    said = say(text="x")
    kubernetes.use_secret_as_env(said, secret_name="s3", secret_key_to_env={"key": "KEY"})


@dsl.pipeline(name="config-env")
def config_env():
    said = say(text="x")
    kubernetes.use_config_map_as_env(said, config_map_name="places", config_map_key_to_env={"key": "KEY"})


@dsl.pipeline(name="importer-in-loop")
def importer_in_loop(uris: list = ["/a"]):  # noqa: B006 - a pipeline's default is data
    with dsl.ParallelFor(uris) as uri:
        count(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset).output)


@dsl.pipeline(name="importer-of-address")
def importer_of_address():
    count(data=dsl.importer(artifact_uri="s3://bucket/key", artifact_class=Dataset).output)


@dsl.pipeline(name="empty-loop")
def empty_loop(names: list = []):  # noqa: B006 - a pipeline's default is data
    with dsl.ParallelFor(names) as name:
        say(text=name)


@dsl.pipeline(name="counting")
def counting(data: Input[Dataset]) -> int:
    return count(data=data).output


@dsl.pipeline(name="artifacts-only")
def artifacts_only():
    made = make()
    counting(data=made.outputs["data"])


@dsl.pipeline(name="optional")
def optional(text: Optional[str] = None):  # noqa: UP045 - kfp reads this form
    say(text=text)


@dsl.pipeline(name="cached-exit")
def cached_exit():
    with dsl.ExitHandler(finish()):
        say(text="x")


@dsl.pipeline(name="large-constant")
def large_constant():
    say(text="x" * 120_000)


@dsl.pipeline(name="quote-in-condition")
def quote_in_condition():
    said = word()
    with dsl.If(said.output == "it's"):
        say(text="x")
    with dsl.Else():
        say(text="y")


@dsl.pipeline(name="placeholder-default")
def placeholder_default(text: str = "{{$.x}}"):
    say(text=text)


@dsl.pipeline(name="installing")
def installing():
    installs()


@dsl.pipeline(name="image-name")
def image_name():
    other_image()


@dsl.pipeline(name="container-component")
def container_component():
    container()


@dsl.pipeline(name="accepted")
def accepted(names: list = ["a", "b"], level: int = 1) -> str:  # noqa: B006 - a pipeline's default is data
    end = finish().set_caching_options(False)
    with dsl.ExitHandler(end):
        with dsl.ParallelFor(names) as name:
            say(text=name)
        with dsl.ParallelFor([1.0, 2.0]) as number:
            halve(number=number)
        with dsl.ParallelFor(words().output) as name:
            say(text=name)
        count(data=dsl.importer(artifact_uri="/data", artifact_class=Dataset).output)
        repeat(names=names)
        say(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
    measured = measure(level=level)
    with dsl.If(measured.outputs["verdict"] == "good"):
        good = say(text="good")
    with dsl.Elif(measured.outputs["verdict"] == "fair"):
        fair = say(text="fair")
    with dsl.Else():
        bad = say(text="bad")
    said = word()
    with dsl.If(said.output == "good"):
        say(text="no else, but an unnamed output")
    return dsl.OneOf(good.output, fair.output, bad.output)

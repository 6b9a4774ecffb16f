"""Conditions in conditions, loops, loops over nothing and a pipeline used twice, in one pipeline."""

import functools
from typing import List, NamedTuple  # noqa: UP035 - kfp reads these from the source of a component

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

step = functools.partial(
    dsl.component, base_image="slipway-python:dev", packages_to_install=[], install_kfp_package=False
)


@step
def measure(word: str) -> NamedTuple("Out", [("verdict", str), ("names", list), ("none", list)]):  # type: ignore[valid-type]  # kfp's way to name outputs
    from collections import namedtuple

    Out = namedtuple("Out", ["verdict", "names", "none"])
    return Out(word, ["a", "b", "c"], [])


@step
def write(text: str, data: Output[Dataset]) -> str:
    from pathlib import Path

    Path(data.path).write_text(text)
    return text.upper()


@step
def read(data: Input[Dataset]) -> str:
    from pathlib import Path

    return Path(data.path).read_text()


@step
def join(texts: list, files: Input[List[Dataset]]) -> str:  # noqa: UP006 - kfp reads this form
    from pathlib import Path

    return "+".join(texts) + ":" + "+".join(Path(file.path).read_text() for file in files)


@step
def count(texts: list) -> int:
    return len(texts)


@step
def collect(one: str, two: str, three: str, joined: str, counted: int) -> str:
    return " ".join([one, two, three, joined, str(counted)])


@dsl.pipeline(name="reading")
def reading(data: Input[Dataset]) -> str:
    return read(data=data).output


@dsl.pipeline(name="groups")
def groups(word: str = "it's; or 'not'") -> str:
    measured = measure(word=word)
    with dsl.If(measured.outputs["verdict"] != "good"):  # noqa: SIM117 - two groups are meant
        with dsl.If(measured.outputs["verdict"] != "fair"):
            write(text="inside")
    with dsl.ParallelFor(measured.outputs["names"]) as name:
        written = write(text=name)
    with dsl.ParallelFor(measured.outputs["none"]) as name:
        nothing = write(text=name)
    first = write(text="first")
    second = write(text="second")
    one = reading(data=first.outputs["data"])  # the same pipeline twice, given artifacts alone
    two = reading(data=second.outputs["data"])
    joined = join(texts=dsl.Collected(written.outputs["Output"]), files=dsl.Collected(written.outputs["data"]))
    counted = count(texts=dsl.Collected(nothing.outputs["Output"]))
    return collect(
        one=one.output, two=two.output, three=first.outputs["Output"], joined=joined.output, counted=counted.output
    ).output

"""A chain like a training pipeline: data with a digest, a model, a verdict with two branches, steps never cached."""

import functools

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

step = functools.partial(
    dsl.component, base_image="slipway-python:dev", packages_to_install=[], install_kfp_package=False
)


@step
def ingest(source: str, code: str, data: Output[Dataset]) -> str:
    import hashlib
    from pathlib import Path

    from components.steps.telling import tell

    text = source.split("#")[0]  # what follows is a remark that changes the value but not the data
    Path(data.path).write_text(text)
    data.metadata["letters"] = len(text)
    tell(f"{len(text)} letters")
    return hashlib.sha256(text.encode()).hexdigest()


@step
def train(digest: str, rate: float, data: Input[Dataset], model: Output[Model], metrics: Output[Metrics]) -> float:
    from pathlib import Path

    Path(model.path).mkdir()
    Path(model.path, "weights.txt").write_text(f"{Path(data.path).read_text()} {rate} {data.metadata['letters']}")
    metrics.log_metric("score", rate)
    return rate


@step
def judge(score: float, floor: float, model: Input[Model]) -> str:
    from pathlib import Path

    print(Path(model.path, "weights.txt").read_text())
    return "accepted" if score >= floor else "refused"


@step
def release(verdict: str, model: Input[Model]) -> str:
    from pathlib import Path

    return f"{verdict} {Path(model.path, 'weights.txt').read_text()}"


@step
def note(verdict: str) -> str:
    return f"kept the champion: {verdict}"


@step
def stamp(run: str) -> str:
    import os

    from components.steps.telling import tell

    tell(f"a secret of {len(os.environ.get('EXAMPLE_SECRET', ''))} letters")
    return run


@dsl.pipeline(name="chain")
def chain(source: str = "abc", rate: float = 0.5, floor: float = 0.4, code: str = "", run: str = "one") -> str:
    data = ingest(source=source, code=code)
    model = train(digest=data.outputs["Output"], rate=rate, data=data.outputs["data"])
    verdict = judge(score=model.outputs["Output"], floor=floor, model=model.outputs["model"])
    stamp(run=run).set_caching_options(False)
    with dsl.If(verdict.output == "accepted"):
        release(verdict=verdict.output, model=model.outputs["model"]).set_caching_options(False)
    with dsl.Else():
        note(verdict=verdict.output)
    return verdict.output

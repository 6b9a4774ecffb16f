"""The training pipeline: from a table to a judged, registered and released model.

It reads like a table of contents. Content digests travel between the steps as ordinary values, so that both the local
cache and the server's know what changed; steps with effects outside of their artifacts are never taken from a cache.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Model

from components.decline import decline
from components.evaluate import evaluate
from components.gate import gate
from components.ingest import ingest
from components.register import register
from components.release import release
from components.split import split
from components.track import track
from components.train import train as fit
from components.tune import tune
from components.validate import validate
from components.verify import verify


class TrainOutputs(NamedTuple):
    verdict: str
    digest: str
    snapshot: str
    bundle: Model
    report: dsl.HTML


@dsl.pipeline(name="train", description="From a table to a judged, registered and released model")
def train(
    name: str,
    run_id: str,
    source: str,
    contract: str,
    contract_id: str,
    split_policy: str,
    features: str,
    model: str,
    search: str,
    slices: str,
    gates: str,
    approval: str,
    rollout: str,
    settings: str,
    place: str,
    key: str,
    as_of: str,
    window: str,
    commit: str,
    code: str,
    seed: int,
    command: str,
) -> TrainOutputs:
    raw = ingest(source=source, contract=contract, as_of=as_of, window=window, place=place)
    raw.set_caching_options(False)  # the source may have changed
    rows = validate(
        contract_id=contract_id,
        contract=raw.outputs["rules"],
        as_of=as_of,
        code=code,
        snapshot_id=raw.outputs["Output"],
        snapshot=raw.outputs["snapshot"],
    )
    parts = split(
        name=name,
        place=place,
        policy=split_policy,
        contract_id=contract_id,
        contract=raw.outputs["rules"],
        seed=seed,
        code=code,
        accepted_id=rows.outputs["Output"],
        accepted=rows.outputs["accepted"],
    )
    parts.set_caching_options(False)  # the champion may have changed, by whose rule rows keep their sides
    search_result = tune(
        model=model,
        features=features,
        search=search,
        policy=split_policy,
        contract_id=contract_id,
        contract=raw.outputs["rules"],
        seed=seed,
        code=code,
        split_id=parts.outputs["Output"],
        train=parts.outputs["train"],
    )
    fitted = fit(
        model=model,
        features=features,
        contract_id=contract_id,
        contract=raw.outputs["rules"],
        seed=seed,
        code=code,
        commit=commit,
        key=key,
        snapshot_id=raw.outputs["Output"],
        split_id=parts.outputs["Output"],
        params=search_result.outputs["Output"],
        train=parts.outputs["train"],
        holdout=parts.outputs["holdout"],
    )
    judged = evaluate(
        slices=slices,
        key=key,
        code=code,
        split_id=parts.outputs["Output"],
        digest=fitted.outputs["Output"],
        holdout=parts.outputs["holdout"],
        bundle=fitted.outputs["bundle"],
    )
    verdict = gate(
        name=name,
        gates=gates,
        slices=slices,
        place=place,
        evaluation_id=judged.outputs["Output"],
        evaluation=judged.outputs["evaluation"],
        holdout=parts.outputs["holdout"],
        bundle=fitted.outputs["bundle"],
    )
    verdict.set_caching_options(False)  # the champion may have changed
    record = track(
        name=name,
        run_id=run_id,
        place=place,
        settings=settings,
        command=command,
        digest=fitted.outputs["Output"],
        verdict=verdict.outputs["Output"],
        snapshot=raw.outputs["snapshot"],
        quarantine=rows.outputs["quarantine"],
        trials=search_result.outputs["trials"],
        bundle=fitted.outputs["bundle"],
        evaluation=judged.outputs["evaluation"],
        decision=verdict.outputs["decision"],
    )
    record.set_caching_options(False)
    with dsl.If(verdict.outputs["Output"] == "accepted", name="accepted"):
        checked = verify(
            name=name,
            key=key,
            code=code,
            digest=fitted.outputs["Output"],
            verdict=verdict.outputs["Output"],
            bundle=fitted.outputs["bundle"],
        )
        version = register(
            name=name,
            run_id=run_id,
            place=place,
            approval=approval,
            digest=fitted.outputs["Output"],
            verified=checked.output,
            bundle=fitted.outputs["bundle"],
            decision=verdict.outputs["decision"],
        )
        version.set_caching_options(False)
        release(name=name, place=place, rollout=rollout, version=version.output).set_caching_options(False)
    with dsl.Else(name="refused"):
        decline(name=name, digest=fitted.outputs["Output"]).set_caching_options(False)
    return TrainOutputs(
        verdict=verdict.outputs["Output"],
        digest=fitted.outputs["Output"],
        snapshot=raw.outputs["Output"],
        bundle=fitted.outputs["bundle"],
        report=record.outputs["report"],
    )

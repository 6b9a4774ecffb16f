"""The training pipeline: from a table to a judged, registered and released model.

It reads like a table of contents. Content digests travel between the steps as ordinary values, so that both the local
cache and the server's know what changed; steps with effects outside of their artifacts are never taken from a cache.
A person types a project; what the steps take of it, and of the place where they run, is an output of the first one.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Model

from components.decline import decline
from components.evaluate import evaluate
from components.gate import gate
from components.ingest import ingest
from components.refit import refit
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


@dsl.pipeline(name="slipway-train", description="From a table to a judged, registered and released model")
def train(
    project: str,
    as_of: str = "",
    window: str = "",
    source: str = "",
    place: str = "",
    notes: str = "",
) -> TrainOutputs:
    """From a table to a judged, registered and released model.

    Args:
        project: The text of a project.yaml, or an s3:// address of one.
        as_of: Pretend that it is this day, e.g. 2026-01-31; empty for today, UTC.
        window: Only events of the last such length, e.g. 180d; empty for all.
        source: Read this table instead of the project's, e.g. s3://bucket/table.parquet.
        place: Where ledger, store and services are, as JSON; empty for what this cluster's ConfigMap says.
        notes: What the command line knows of the run; leave it empty.
    """
    raw = ingest(
        project=project,
        as_of=as_of,
        window=window,
        source=source,
        place=place,
        notes=notes,
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    )
    raw.set_caching_options(False)  # the source may have changed
    asked = raw.outputs
    rows = validate(
        contract_id=asked["contract_id"],
        contract=asked["rules"],
        as_of=asked["as_of"],
        code=asked["code"],
        snapshot_id=asked["snapshot_id"],
        snapshot=asked["snapshot"],
    )
    parts = split(
        name=asked["name"],
        run_id=asked["run_id"],
        place=asked["place"],
        policy=asked["split_policy"],
        contract_id=asked["contract_id"],
        contract=asked["rules"],
        seed=asked["seed"],
        code=asked["code"],
        accepted_id=rows.outputs["Output"],
        accepted=rows.outputs["accepted"],
    )
    parts.set_caching_options(False)  # the champion may have changed, by whose rule rows keep their sides
    search_result = tune(
        model=asked["model"],
        features=asked["features"],
        search=asked["search"],
        policy=asked["split_policy"],
        contract_id=asked["contract_id"],
        contract=asked["rules"],
        seed=asked["seed"],
        code=asked["code"],
        split_id=parts.outputs["Output"],
        train=parts.outputs["train"],
    )
    fitted = fit(
        model=asked["model"],
        features=asked["features"],
        contract_id=asked["contract_id"],
        contract=asked["rules"],
        seed=asked["seed"],
        code=asked["code"],
        commit=asked["commit"],
        key=asked["key"],
        snapshot_id=asked["snapshot_id"],
        split_id=parts.outputs["Output"],
        params=search_result.outputs["Output"],
        says=asked["says"],
        train=parts.outputs["train"],
        holdout=parts.outputs["holdout"],
    )
    judged = evaluate(
        slices=asked["slices"],
        key=asked["key"],
        code=asked["code"],
        split_id=parts.outputs["Output"],
        digest=fitted.outputs["Output"],
        holdout=parts.outputs["holdout"],
        bundle=fitted.outputs["bundle"],
    )
    verdict = gate(
        name=asked["name"],
        run_id=asked["run_id"],
        gates=asked["gates"],
        slices=asked["slices"],
        place=asked["place"],
        evaluation_id=judged.outputs["Output"],
        evaluation=judged.outputs["evaluation"],
        holdout=parts.outputs["holdout"],
        bundle=fitted.outputs["bundle"],
    )
    verdict.set_caching_options(False)  # the champion may have changed
    record = track(
        name=asked["name"],
        run_id=asked["run_id"],
        place=asked["place"],
        settings=asked["settings"],
        command=asked["command"],
        digest=fitted.outputs["Output"],
        verdict=verdict.outputs["Output"],
        snapshot=asked["snapshot"],
        quarantine=rows.outputs["quarantine"],
        trials=search_result.outputs["trials"],
        bundle=fitted.outputs["bundle"],
        evaluation=judged.outputs["evaluation"],
        decision=verdict.outputs["decision"],
    )
    record.set_caching_options(False)
    with dsl.If(verdict.outputs["Output"] == "accepted", name="accepted"):
        final = refit(
            model=asked["model"],
            features=asked["features"],
            contract_id=asked["contract_id"],
            contract=asked["rules"],
            seed=asked["seed"],
            code=asked["code"],
            commit=asked["commit"],
            key=asked["key"],
            snapshot_id=asked["snapshot_id"],
            split_id=parts.outputs["Output"],
            params=search_result.outputs["Output"],
            says=asked["says"],
            digest=fitted.outputs["Output"],
            verdict=verdict.outputs["Output"],
            train=parts.outputs["train"],
            holdout=parts.outputs["holdout"],
            bundle=fitted.outputs["bundle"],
        )
        checked = verify(
            name=asked["name"],
            key=asked["key"],
            code=asked["code"],
            digest=final.outputs["Output"],
            verdict=verdict.outputs["Output"],
            bundle=final.outputs["served"],
        )
        version = register(
            name=asked["name"],
            run_id=asked["run_id"],
            place=asked["place"],
            approval=asked["approval"],
            digest=final.outputs["Output"],
            verified=checked.output,
            bundle=final.outputs["served"],
            decision=verdict.outputs["decision"],
        )
        version.set_caching_options(False)
        released = release(
            name=asked["name"],
            run_id=asked["run_id"],
            place=asked["place"],
            rollout=asked["rollout"],
            version=version.output,
        )
        released.set_caching_options(False)
    with dsl.Else(name="refused"):
        declined = decline(name=asked["name"], run_id=asked["run_id"], digest=fitted.outputs["Output"])
        declined.set_caching_options(False)
    return TrainOutputs(
        verdict=verdict.outputs["Output"],
        digest=fitted.outputs["Output"],
        snapshot=asked["snapshot_id"],
        bundle=fitted.outputs["bundle"],
        report=record.outputs["report"],
    )

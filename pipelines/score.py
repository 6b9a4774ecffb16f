"""The scoring pipeline: a table's partitions to predictions, as many shares side by side as the cluster gives.

No step comes from a cache: which partitions are done is known by their manifests beside the predictions, and those are
looked at whenever a run asks.
"""

from typing import NamedTuple

from kfp import dsl

from components.collect_scores import collect_scores
from components.plan_scores import plan_scores
from components.score import score as score_share


class ScoreOutputs(NamedTuple):
    digest: str
    manifest: dsl.Artifact


@dsl.pipeline(name="slipway-score", description="From a table's partitions to predictions of one registered version")
def score(
    name: str,
    source: str,
    output: str,
    version: int = 0,
    keep: str = "",
    explain: bool = False,
    top: int = 0,
    shares: int = 8,
    workers: int = 2,
    place: str = "",
) -> ScoreOutputs:
    """From a table's partitions to predictions of one registered version.

    Args:
        name: The model.
        source: Rows to score, e.g. s3://bucket/rows: a CSV or parquet file, or a folder of them.
        output: Where predictions go, e.g. s3://bucket/predictions.
        version: Score with this version; 0 for the one that serves.
        keep: Input columns to keep beside the predictions, with commas between.
        explain: Whether contributions of columns stand beside the predictions.
        top: How many of the most probable classes stand there.
        shares: How many pods at most share the work.
        workers: Processes in each pod.
        place: Where ledger and store are, as JSON; empty for what this cluster's ConfigMap says.
    """
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    planned = plan_scores(
        name=name,
        run_id=run_id,
        version=version,
        source=source,
        output=output,
        keep=keep,
        explain=explain,
        top=top,
        shares=shares,
        place=place,
    )
    planned.set_caching_options(False)  # the files, and what serves, may have changed
    plan = planned.outputs["plan"]
    with dsl.ParallelFor(planned.outputs["Output"]) as share:
        scored = score_share(share=share, run_id=run_id, place=place, workers=workers, plan=plan)
        scored.set_caching_options(False)
    collected = collect_scores(results=dsl.Collected(scored.output), run_id=run_id, place=place, plan=plan)
    collected.set_caching_options(False)
    return ScoreOutputs(digest=collected.outputs["Output"], manifest=collected.outputs["manifest"])

"""Scoring a table with a registered version: the whole of it in one process, or as what the doorways call.

A plan fixes version, files and shares once, so that a promotion in the middle of a run does not mix two versions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from components.judging.champions import Champion, find
from components.scoring.batches import Job, score_partition
from components.scoring.inputs import Partition, partitions
from components.scoring.manifest import Manifest, PartitionManifest, require
from components.scoring.output import MANIFEST, Output, only_writer, open_output
from components.steps.place import Place, opened, s3_settings
from components.steps.telling import tell
from serving.bundle.judgement import top_mistake
from serving.contract import Frozen
from serving.errors import ConfigError, DataError, UsageError
from serving.files import sha256_bytes, write_bytes, write_text

SERVING = 0  # stands for the version that serves


class Plan(Frozen):
    """What is scored with which version.

    Attributes:
        source, output: URIs.
        keep, explain, top: as in ``Job``.
        refuse_above: of the version's contract.
    """

    model: str
    version: int
    bundle: str
    source: str
    output: str
    keep: tuple[str, ...] | None
    refuse_above: float
    partitions: tuple[Partition, ...]
    explain: bool = False
    top: int = 0


def make_plan(
    name: str,
    version: int,
    source: str,
    output: str,
    keep: tuple[str, ...] | None,
    place: Place,
    explain: bool = False,
    top: int | None = None,
) -> Plan:
    """The plan for *version* of model *name*, or for the one that serves.

    Raises:
        ConfigError: no version serves yet.
        GateRefusal: its bundle must not be used.
        DataError: there is nothing to score.
        UsageError: it has not as many classes as *top*, or too few to ask.
    """
    chosen = _chosen(name, version, place)
    if top is not None and (mistake := top_mistake(top, len(chosen.bundle.contract.target.classes))):
        raise UsageError(f"--top: {mistake}")
    return Plan(
        model=name,
        version=chosen.version,
        bundle=chosen.bundle.digest,
        source=source,
        output=output,
        keep=keep,
        refuse_above=chosen.bundle.contract.refuse_above,
        partitions=partitions(source, s3_settings(place)),
        explain=explain,
        top=top or 0,
    )


def score_all(
    plan: Plan,
    place: Place,
    workers: int,
    on_partition: Callable[[PartitionManifest, bool], None] = lambda _manifest, _fresh: None,
) -> Manifest:
    """Score every partition of *plan* that is not done yet, and write the manifest of all.

    Args:
        on_partition: told each one as it ends, and whether it had to be computed.

    Raises:
        ConflictError: another command writes to the same directory.
        DataError: a file that cannot be scored, or too many refused rows.
    """
    job = _job(plan, place, workers)
    with only_writer(job.output):
        begin(job.output, plan)
        done = []
        for partition in plan.partitions:
            manifest, fresh = score_partition(job, partition)
            on_partition(manifest, fresh)
            done.append(manifest)
        whole = Manifest.of(done)
        job.output.write(MANIFEST, whole)
    require(whole, plan.refuse_above)
    return whole


def begin(output: Output, plan: Plan) -> None:
    """Take back the word that *output* is complete, and what was made of files that are gone."""
    output.store.delete(MANIFEST)
    output.forget({partition.name for partition in plan.partitions})


def plan(
    name: str,
    version: int,
    source: str,
    output: str,
    keep: str,
    explain: bool,
    top: int,
    shares: int,
    place: str,
    plan: str,
) -> list[str]:
    """Write the plan; returns one item for each share of the work, at most *shares*.

    Args:
        keep: column names with commas between them; ``""`` for the usual ones.
        explain, top: as in ``Job``.
    """
    where = opened(place)
    columns = tuple(word.strip() for word in keep.split(",") if word.strip()) or None
    made = make_plan(name, version, source, output, columns, where, explain, top or None)
    begin(open_output(output, source, s3_settings(where)), made)
    write_text(Path(plan), made.model_dump_json(indent=1))
    count = min(max(shares, 1), len(made.partitions))
    tell(f"{len(made.partitions):,} partitions for {name} {made.version}, in {count} shares")
    return [f"{share}/{count}" for share in range(count)]


def score(share: str, place: str, workers: int, plan: str) -> str:
    """Score the partitions of *share*, ``2/8`` for the third of eight; returns a digest of what they gave."""
    made = Plan.model_validate_json(Path(plan).read_bytes())
    first, count = (int(number) for number in share.split("/"))
    job = _job(made, opened(place), workers)
    results = [score_partition(job, partition) for partition in made.partitions[first::count]]
    whole = Manifest.of(manifest for manifest, _ in results)
    done = sum(not fresh for _, fresh in results)
    tell(f"share {share}: {whole.sentence}" + (f"; {done} of {len(results)} partitions were done" if done else ""))
    return sha256_bytes(whole.model_dump_json().encode())


def collect(results: Sequence[str], place: str, plan: str, manifest: str) -> str:
    """Write the manifest of all partitions, beside the predictions and to the path *manifest*; returns its digest.

    Raises:
        DataError: a partition is missing, or too many rows were refused.
    """
    made = Plan.model_validate_json(Path(plan).read_bytes())
    output = open_output(made.output, made.source, s3_settings(opened(place)))
    found = [(partition, output.read_manifest(partition.name)) for partition in made.partitions]
    parts = [part for partition, part in found if part is not None and _answers(part, partition, made)]
    if len(parts) < len(made.partitions):
        raise DataError(
            f"{len(made.partitions) - len(parts)} of {len(made.partitions)} partitions have no predictions of this "
            f"plan, though {len(results)} shares ended; run the same command again"
        )
    whole = Manifest.of(parts)
    data = output.write(MANIFEST, whole)
    write_bytes(Path(manifest), data)
    tell(whole.sentence)
    require(whole, made.refuse_above)
    return sha256_bytes(data)


def _answers(part: PartitionManifest, partition: Partition, made: Plan) -> bool:
    """Whether *part* is of this plan; what a file in an object store held is only known to the share that read it."""
    seen = part.asked.input
    same_file = not partition.sha256 or (seen.sha256, seen.groups) == (partition.sha256, partition.groups)
    return same_file and (part.asked.bundle, part.asked.version) == (made.bundle, str(made.version))


def _job(made: Plan, place: Place, workers: int) -> Job:
    chosen = _chosen(made.model, made.version, place)
    s3 = s3_settings(place)
    output = open_output(made.output, made.source, s3)
    facts = (made.source, output, chosen.bundle, made.model, str(made.version), made.keep, s3, workers)
    return Job(*facts, explain=made.explain, top=made.top)


def _chosen(name: str, version: int, place: Place) -> Champion:
    """The *version* of model *name*, or the one that serves."""
    champion = find(name, place, version or None)
    if champion is None:
        raise ConfigError(
            f"no version of {name} serves yet: expected one to score with; train one with `slipway run`, or name a "
            "registered one with --version"
        )
    return champion

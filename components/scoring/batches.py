"""Batch scoring: the partitions of a table through a bundle, file to file, in bounded memory.

Chunks of a partition are coded and scored by a few threads, since the loops that do the work release the interpreter
lock, and written in the order of the rows. Chunks and writer settings are fixed, so neither threads nor interruptions
show in the bytes. What a partition with the same input, bundle and settings gave is not computed again.
"""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from components.data.meeting import Needed, absent, decimal_points
from components.data.reader import Reader
from components.scoring.inputs import Partition, at_hand, reader
from components.scoring.manifest import Asked, PartitionManifest, counted
from components.scoring.output import Output, manifest_key, prediction_key, refused_key
from components.scoring.reasons import OF, Reasoner, reason_names
from components.scoring.rows import Counts, RowScorer, Scores
from components.steps.parallel import in_order
from serving.bundle.bundle import Bundle
from serving.bundle.judgement import likeliest
from serving.contract import Contract
from serving.errors import DataError, UsageError
from serving.store.store import S3Settings

CHUNK_ROWS = 65_536  # also a row group of the results; larger ones leave the cache of the processor
PREDICTION, VERSION, PROBABILITY = "prediction", "model_version", "probability_"
ENDS = ("lower", "upper")  # of the interval, where the project asks for one
ROW, REASONS = "row", "reasons"


@dataclass(frozen=True)
class Job:
    """What to score, with what, to where.

    Attributes:
        keep: input columns that go along with the predictions; None for the contract's key and ids, and without any
            for every column that is neither an input of the model nor the target.
        explain: whether contributions of columns stand beside the predictions.
        top: how many of the most probable classes stand there.
        workers: threads; they change the time and no bit.
    """

    source: str
    output: Output
    bundle: Bundle
    model: str
    version: str
    keep: tuple[str, ...] | None = None
    s3: S3Settings | None = None
    workers: int = 2
    chunk_rows: int = CHUNK_ROWS
    explain: bool = False
    top: int = 0

    def asked(self, partition: Partition) -> Asked:
        """All that decides about the bytes of its results, without what another copy of the input would have."""
        timeless = partition.model_copy(update={"modified_ns": 0})
        return Asked(
            model=self.model,
            version=self.version,
            bundle=self.bundle.digest,
            input=timeless,
            keep=self.keep,
            chunk_rows=self.chunk_rows,
            explain=self.explain,
            top=self.top,
        )

    @cached_property
    def reasoner(self) -> Reasoner | None:
        """What explains, where that is asked for."""
        return Reasoner(self.bundle) if self.explain else None

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the columns of the results that depend on what is asked of which bundle."""
        reasons = (OF, *reason_names(self.bundle.contract)) if self.explain else ()
        best = (name for pair in top_names(self.top) for name in pair)
        return (*(ENDS if self.bundle.judgement.widths else ()), *reasons, *best)


def top_names(most: int) -> tuple[tuple[str, str], ...]:
    """The columns of the *most* probable classes: the class, and its probability."""
    return tuple((f"top_{place}", f"top_{place}_probability") for place in range(1, most + 1))


def score_partition(job: Job, partition: Partition) -> tuple[PartitionManifest, bool]:
    """Score *partition* unless that was done; its manifest, and whether anything had to be computed.

    Predictions come before their manifest, so a partition that was interrupted has none and is scored again.

    Raises:
        DataError: the file cannot be read, lacks a column, or changed while it was read.
    """
    with at_hand(job.source, partition, job.s3) as (path, known):
        asked = job.asked(known)
        done = job.output.finished(asked)
        if done is not None:
            return done, False
        with job.output.scratch(partition.name) as folder:
            sums = _score_file(job, reader(job.source, path, known, job.bundle.contract), known, folder)
            refused = folder / "refused.parquet"
            key = refused_key(partition.name)
            refusals = job.output.publish(refused, key) if refused.exists() else None
            if refusals is None:
                job.output.store.delete(key)
            predictions = job.output.publish(folder / "predictions.parquet", prediction_key(partition.name))
            manifest = PartitionManifest(asked=asked, predictions=predictions, refusals=refusals, **sums)
    job.output.write(manifest_key(partition.name), manifest)
    return manifest, True


def _score_file(job: Job, reader: Reader, partition: Partition, folder: Path) -> dict[str, Any]:
    """Write the results of one file into *folder*; the sums of its ``PartitionManifest``."""
    contract = job.bundle.contract
    keep = kept_columns(reader.names, contract, job.keep, job.results)
    gone = _absent(job, reader, contract)
    inputs = [name for name in contract.inputs if name not in gone]
    columns = list(dict.fromkeys((*inputs, *keep)))
    schema = reader.schema(columns)
    nothing = [pl.lit(None).alias(name) for name in gone]
    empty = pl.DataFrame(schema.empty_table()).with_columns(nothing)
    score, width = (why.score, why.width) if (why := job.reasoner) else (job.bundle.scorer.score, None)
    scorer = RowScorer(empty.select(*contract.inputs).schema, contract, score, width)
    rows = refused = 0
    reasons: Counts = Counter()
    flagged: Counts = Counter()

    commas = decimal_points(reader, Needed.of(contract, inputs=True))

    def work(chunk: pa.Table) -> tuple[pa.Table, Scores]:
        return chunk, scorer.score(pl.DataFrame(chunk.select(inputs)).with_columns(*commas, *nothing))

    with contextlib.ExitStack() as stack:
        writer = Writer(stack, folder, schema, keep, job, partition.first_row)
        for chunk, scores in in_order(work, reader.chunks(columns, job.chunk_rows), job.workers):
            writer.write(chunk, scores)
            rows, refused = rows + chunk.num_rows, refused + len(scores.refused)
            reasons.update(scores.reasons_by)
            flagged.update(scores.flagged_by)
    told = {"reasons": counted(reasons), "flagged": counted(flagged)}
    return {"rows": rows, "scored": rows - refused, "refused": refused, "absent": tuple(gone), **told}


class Writer:
    """Writes predictions, and refused rows if there are any, as parquet files of *folder*, whole when *stack* ends."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        folder: Path,
        schema: pa.Schema,
        keep: Sequence[str],
        job: Job,
        first_row: int,
    ) -> None:
        self._stack, self._folder, self._row = stack, folder, first_row
        self._keep, self._classes, self._version = list(keep), job.bundle.contract.target.classes, job.version
        self._judgement, self._reasoner = job.bundle.judgement, job.reasoner
        fields = [schema.field(name) for name in keep]
        fields.append(pa.field(PREDICTION, pa.string() if self._classes else pa.float64()))
        ends = ENDS if self._judgement.widths else ()
        fields += [pa.field(name, pa.float64()) for name in (*ends, *(PROBABILITY + word for word in self._classes))]
        self._top = top_names(job.top)
        for name, chance in self._top:
            fields += [pa.field(name, pa.string()), pa.field(chance, pa.float64())]
        if self._reasoner:
            fields.append(pa.field(OF, pa.string()))
            fields += [pa.field(name, pa.float64()) for name in reason_names(job.bundle.contract)]
        self._schema = pa.schema([*fields, pa.field(VERSION, pa.string())])
        self._refused_schema = pa.schema([pa.field(ROW, pa.int64()), *schema, pa.field(REASONS, pa.string())])
        self._refused: Any = None
        self._predictions = self._open("predictions.parquet", self._schema)

    def write(self, chunk: pa.Table, scores: Scores) -> None:
        """Append one row group."""
        columns = [chunk.column(name) for name in self._keep] + self._told(chunk.num_rows, scores)
        columns += self._reasons(chunk.num_rows, scores)
        columns.append(pa.repeat(self._version, chunk.num_rows))
        self._predictions.write_table(pa.table(columns, schema=self._schema), row_group_size=chunk.num_rows)
        if len(scores.refused):
            self._refuse(chunk, scores)
        self._row += chunk.num_rows

    def _told(self, rows: int, scores: Scores) -> list[pa.Array]:
        """Prediction, of classes their probabilities and the best, of numbers ends of intervals; null where refused."""
        none, widths = np.isin(np.arange(rows), scores.refused), self._judgement.widths
        values = self._reasoner.scores(scores.values) if self._reasoner else scores.values
        if not self._classes:
            ends = widths.bounds(values).T if widths else ()
            return [pa.array(np.ascontiguousarray(column), mask=none) for column in (values, *ends)]
        words, known = pa.array(self._classes, pa.string()), np.where(none[:, None], 0.0, values)
        told = [words.take(pa.array(self._judgement.decided(known), mask=none))]
        told += [pa.array(np.ascontiguousarray(column), mask=none) for column in values.T]
        best = likeliest(known, len(self._top))
        for codes, chances in zip(best.T, np.take_along_axis(known, best, axis=1).T, strict=True):
            told.append(words.take(pa.array(np.ascontiguousarray(codes), mask=none)))
            told.append(pa.array(np.ascontiguousarray(chances), mask=none))
        return told

    def _reasons(self, rows: int, scores: Scores) -> list[pa.Array]:
        """Where they are asked for, what is explained, the base, and contributions; null in refused rows."""
        if self._reasoner is None:
            return []
        none = np.isin(np.arange(rows), scores.refused)
        numbers = [np.ascontiguousarray(one) for one in self._reasoner.numbers(scores.values).T]
        words = pa.array(self._reasoner.words(scores.values), pa.string(), mask=none)
        return [words, *(pa.array(one, mask=none) for one in numbers)]

    def _refuse(self, chunk: pa.Table, scores: Scores) -> None:
        if self._refused is None:
            self._refused = self._open("refused.parquet", self._refused_schema)
        fallen = chunk.take(pa.array(scores.refused))
        columns = [pa.array(scores.refused + self._row, pa.int64()), *fallen.columns]
        columns.append(pa.array(scores.reasons, pa.string()))
        self._refused.write_table(pa.table(columns, schema=self._refused_schema))

    def _open(self, name: str, schema: pa.Schema) -> Any:
        """A writer whose settings do not follow the library's defaults.

        Numbers and keys are mostly distinct, and trying a dictionary on them costs as much as writing them.
        """
        words = (PREDICTION, VERSION, OF, *(name for name, _ in self._top)) if self._classes else (VERSION, OF)
        return self._stack.enter_context(
            pq.ParquetWriter(
                self._folder / name,
                schema,
                version="2.6",
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in words if name in schema.names],
                data_page_version="1.0",
                write_statistics=True,
                store_schema=True,
            )
        )


def kept_columns(
    names: Sequence[str], contract: Contract, wanted: tuple[str, ...] | None, more: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The columns of a file that go along with its predictions; see ``Job.keep``. Results have *more* names than usual.

    Raises:
        UsageError: a wanted column is absent, or has the name of one of the results.
    """
    if wanted is None:
        known = {*contract.names, contract.target.name}
        carried = tuple(name for name in dict.fromkeys((contract.key, *contract.ids)) if name in names)
        wanted = tuple(map(str, carried)) or tuple(name for name in names if name not in known)
    if absent := [name for name in wanted if name not in names]:
        raise UsageError(f"no column {absent[0]!r} to keep; the table has {', '.join(names)}")
    own = {PREDICTION, VERSION, ROW, REASONS, *more, *(PROBABILITY + word for word in contract.target.classes)}
    if taken := [name for name in wanted if name in own]:
        raise UsageError(f"column {taken[0]!r} has the name of a result; say which columns to keep without it")
    return wanted


def _absent(job: Job, reader: Reader, contract: Contract) -> list[str]:
    """Columns of the *contract* that the file of *reader* may lack as one of several; a file alone lacks none."""
    gone = [name for name in contract.inputs if name not in reader.names]
    if gone and reader.name == job.source:
        raise DataError(
            f"{reader.name} lacks {', '.join(gone)} of the contract: it has {', '.join(reader.names)}; "
            "correct the export or choose another version"
        )
    return absent(reader, Needed.of(contract, inputs=True))

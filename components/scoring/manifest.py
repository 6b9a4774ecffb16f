"""What was scored with which version: a manifest beside each partition's predictions, and one of all of them.

Manifests hold content only, no times and no places: the same rows scored with the same bundle give the same bytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from components.data.rules import Count
from components.scoring.inputs import Partition
from components.steps.telling import SHORT
from serving.contract import Frozen
from serving.errors import DataError

FORMAT = 1
FEW = 3  # reasons a sentence names


class Asked(Frozen):
    """All that decides about the bytes of a partition's predictions."""

    format: int = FORMAT
    model: str
    version: str
    bundle: str
    input: Partition
    keep: tuple[str, ...] | None
    chunk_rows: int
    explain: bool = False
    top: int = 0


class Written(Frozen):
    """A file of the results: ``key`` is its path below them."""

    key: str
    sha256: str
    size: int


class PartitionManifest(Frozen):
    """One scored partition.

    Attributes:
        rows: all of the partition, of which ``scored`` have a prediction and ``refused`` have none.
        reasons: of the refused rows; a row may count for several.
        flagged: rows that were scored although a value is outside of the contract, since its column says so.
        refusals: the refused rows with their reasons; None without any.
        absent: columns that the file lacks, so that no row has a value there.
    """

    asked: Asked
    rows: int
    scored: int
    refused: int
    reasons: tuple[Count, ...]
    flagged: tuple[Count, ...]
    predictions: Written
    refusals: Written | None
    absent: tuple[str, ...] = ()


class Manifest(Frozen):
    """All partitions of one table, scored with one version; written last, so that its presence means completeness."""

    model: str
    version: str
    bundle: str
    rows: int
    scored: int
    refused: int
    reasons: tuple[Count, ...]
    flagged: tuple[Count, ...]
    partitions: tuple[PartitionManifest, ...]

    @classmethod
    def of(cls, parts: Iterable[PartitionManifest]) -> "Manifest":
        """The manifest of at least one part; all were asked of the same version."""
        every = tuple(sorted(parts, key=lambda part: part.asked.input.name))
        first = every[0].asked
        return cls(
            model=first.model,
            version=first.version,
            bundle=first.bundle,
            rows=sum(part.rows for part in every),
            scored=sum(part.scored for part in every),
            refused=sum(part.refused for part in every),
            reasons=_added(part.reasons for part in every),
            flagged=_added(part.flagged for part in every),
            partitions=every,
        )

    @property
    def sentence(self) -> str:
        """'31,118 of 31,204 rows scored with housing 2 (bundle 4be416); 86 refused: 71 area_m2 out of range'."""
        rows = f"{self.scored:,} of {self.rows:,} rows" if self.refused else f"{self.rows:,} rows"
        refused = f"; {self.refused:,} refused: {self._worst}" if self.refused else ""
        flagged = f"; {sum(count.rows for count in self.flagged):,} values flagged" if self.flagged else ""
        notes = f"{refused}{flagged}{self._gaps}"
        return f"{rows} scored with {self.model} {self.version} (bundle {self.bundle[:SHORT]}){notes}"

    @property
    def _gaps(self) -> str:
        """'; jan.csv lacks lift, which may be missing': the first file that lacks a column, and how many more do."""
        lacking = [part for part in self.partitions if part.absent]
        if not lacking:
            return ""
        first, more = lacking[0], f" and {len(lacking) - 1} more files" if len(lacking) > 1 else ""
        return f"; {first.asked.input.file} lacks {', '.join(first.absent)}, which may be missing{more}"

    @property
    def _worst(self) -> str:
        ranked = sorted(self.reasons, key=lambda count: (-count.rows, count.column, count.reason))
        return ", ".join(count.phrase for count in ranked[:FEW]) + (" and others" if len(ranked) > FEW else "")


def counted(counts: Mapping[tuple[str, str], int]) -> tuple[Count, ...]:
    """*counts* by column and reason, in alphabetical order."""
    return tuple(Count(column=column, reason=reason, rows=rows) for (column, reason), rows in sorted(counts.items()))


def require(manifest: Manifest, refuse_above: float) -> None:
    """Say whether the predictions are what they were meant to be; *refuse_above* is the contract's.

    Raises:
        DataError: there were no rows, or more were refused than the contract tolerates; the files stay.
    """
    if not manifest.rows:
        raise DataError("the table to score is empty: expected at least one row, got none; check the export")
    share = manifest.refused / manifest.rows
    if share > refuse_above:
        raise DataError(
            f"{manifest.sentence}: {share:.1%} of the rows have no prediction, more than contract.refuse_above allows "
            f"({refuse_above:.1%}); see the refused rows and correct the export"
        )


def _added(parts: Iterable[tuple[Count, ...]]) -> tuple[Count, ...]:
    total: Counter[tuple[str, str]] = Counter()
    for counts in parts:
        total.update({(count.column, count.reason): count.rows for count in counts})
    return counted(total)

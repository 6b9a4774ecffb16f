"""What a teacher is asked, what it answers, and the table that the pupil learns instead of the truth.

Rows are the training rows, rows made of them, and those held out, in this order; answers are (n_rows,) numbers or
(n_rows, n_classes) probabilities in the contract's order.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl

from components.data.rules import meant
from components.data.tables import Vector, learned_contract
from components.modelling.distilling.mixing import mixed
from serving.contract import Contract
from serving.errors import DataError
from serving.files import sha256_bytes

ROW = "slipway_row"
COPIES = 4  # of each row of classes, so that what is drawn of it is what was said to a quarter
MORE, LEAST, MOST = 4, 10_000, 100_000  # rows made for each training row, but so many in all
SUMS = 1e-3  # by which probabilities may sum to something else than 1: libraries write them in four bytes


def total(table: pl.DataFrame) -> int:
    """Of how many rows those in a *table* of answers are, by their names.

    Raises:
        DataError: they have none.
    """
    names = table[ROW] if ROW in table.columns else pl.Series(dtype=pl.String)
    parts = str(names[0]).split("/") if len(names) else []
    if len(parts) != 3 or not parts[1].isdigit():
        seen = repr(names[0]) if len(names) else f"the columns {', '.join(table.columns)} of {len(table):,} rows"
        raise DataError(f"the answers do not say to which rows: expected a column {ROW} as it was asked, seen {seen}")
    return int(parts[1])


@dataclass(frozen=True)
class Questions:
    """Rows for a teacher, each table in the types of the contract, whose categories are known.

    Attributes:
        known: the training rows.
        made: rows made of them.
        held: rows that the pupil is judged on, and learns nothing of.
    """

    contract: Contract
    known: pl.DataFrame
    made: pl.DataFrame
    held: pl.DataFrame

    @classmethod
    def of(cls, train: pl.DataFrame, held: pl.DataFrame, contract: Contract, count: int | None, seed: int) -> Self:
        """With *count* made rows; None: four for each training row, 10,000 to 100,000."""
        rules = learned_contract(train, contract)
        known, judged = (rows.with_columns(meant(rows, rules)) for rows in (train, held))
        more = min(max(MORE * len(known), LEAST), MOST) if count is None else count
        return cls(rules, known, mixed(known, rules, more, seed), judged)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """What is asked: the columns that a request has to bring."""
        inputs = list(self.contract.inputs)
        return pl.concat([part.select(inputs) for part in (self.known, self.made, self.held)])

    @cached_property
    def names(self) -> pl.Series:
        """The name of each row, which says of how many rows it is one, and of which."""
        digest = sha256_bytes(self.rows.write_csv().encode())[:12]
        return pl.Series(ROW, [f"{digest}/{len(self.rows)}/{place}" for place in range(len(self.rows))])

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns of answers: the target, or the probability of each class."""
        return self.contract.target.classes or (self.contract.target.name,)

    @property
    def question(self) -> pl.DataFrame:
        """The rows with their names, for a teacher that is elsewhere."""
        return self.rows.insert_column(0, self.names)

    def answers(self, table: pl.DataFrame) -> Vector:
        """Those in the *table* that came back, whatever the order of its rows.

        Raises:
            DataError: it answers other rows, or not each once, or not by numbers or probabilities.
        """
        wanted = list(self.wanted)
        if absent := [name for name in (ROW, *wanted) if name not in table.columns]:
            raise DataError(
                f"the answers have no column {absent[0]!r}; expected {ROW} as it was asked and "
                f"{', '.join(wanted)}, seen {', '.join(table.columns)}"
            )
        given = table[ROW].cast(pl.String)
        if len(strange := given.filter(~given.is_in(self.names.implode()))):
            raise DataError(
                f"the answers are of other rows than are asked now, such as {strange[0]!r}, expected {self.names[0]!r} "
                "and so on: the table or the project has changed since; ask again with --ask"
            )
        if len(given) != len(self.names) or given.n_unique() != len(given):
            raise DataError(
                f"the answers are for {given.n_unique():,} of {len(self.names):,} rows, in {len(given):,} lines: "
                "expected one for each"
            )
        known = self.names.to_frame().join(table.with_columns(given), on=ROW, how="left", maintain_order="left")
        if odd := [name for name in wanted if not known[name].dtype.is_numeric()]:
            raise DataError(f"the answers in {odd[0]!r} are of type {known[odd[0]].dtype}; expected numbers")
        answers = known.select(pl.col(wanted).cast(pl.Float64)).to_numpy()
        return self.checked(answers if self.contract.target.classes else answers[:, 0])

    def checked(self, answers: Vector) -> Vector:
        """The same; ``DataError`` unless they are one finite number a row, or probabilities that sum to 1."""
        classes = len(self.contract.target.classes)
        expected = (len(self.rows), classes) if classes else (len(self.rows),)
        if answers.shape != expected:
            raise DataError(f"the answers have the shape {answers.shape}; expected {expected}")
        fine = np.isfinite(answers)
        if classes:
            whole = np.abs(answers.sum(axis=1) - 1) <= SUMS
            fine = ((answers >= 0) & fine).all(axis=1) & whole
        if not fine.all():
            row = int(np.argmin(fine))
            noun = f"probabilities of {', '.join(self.wanted)} that sum to 1" if classes else "a number"
            raise DataError(
                f"the answer to row {row} is {np.array2string(answers[row], separator=', ')}, and "
                f"{int((~fine).sum()):,} of {len(fine):,} are such; expected {noun}"
            )
        return answers

    def lesson(self, answers: Vector, seed: int) -> pl.DataFrame:
        """The training and the made rows, with the *answers* for truths.

        Numbers are held to the target's range. Of probabilities each row has a few copies, whose classes are drawn at
        even distances: encoders, weights and searches see classes as often as they were said, and need know of nothing.
        """
        rows, target = pl.concat([self.known, self.made]), self.contract.target
        told = answers[: len(rows)]
        if not target.classes:
            return rows.with_columns(pl.Series(target.name, np.clip(told, *(target.range or (-np.inf, np.inf)))))
        edges = np.cumsum(told, axis=1)
        edges /= edges[:, -1:]
        at = (np.arange(COPIES) + np.random.default_rng(seed).random((len(rows), 1))) / COPIES
        drawn = (at[:, :, None] >= edges[:, None, :-1]).sum(axis=2)
        words = np.array(target.classes, dtype=object)[drawn.ravel()]
        again = np.repeat(np.arange(len(rows)), COPIES)
        return rows[again].with_columns(pl.Series(target.name, words, dtype=pl.String))

"""Derived columns as the first step of a scikit-learn Pipeline, stored by skops as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

from serving.contract import Matrix
from serving.errors import GateRefusal
from serving.features.compile import Compiled
from serving.features.groups import grouped
from serving.features.program import Derivation

if TYPE_CHECKING:
    import pandas as pd

Words = Mapping[str, Sequence[str]]


class Derive(TransformerMixin, BaseEstimator):
    """The table of ``Contract.frame`` with derived columns behind its own.

    Attributes:
        names: the columns it takes, in the order of the coded matrix.
        words: the values of those that are categories, and of derived ones that are, by name.
        head, arrays: of the ``Derivation``, as its ``to_arrays`` gives them.
        groups: what is learned from training rows, each with the fields of a ``Group``.
        table_: the table of the program with what was learned, after ``fit``.
    """

    def __init__(self, names: list[str], words: dict[str, list[str]], head: Any, arrays: Any, groups: Any) -> None:
        self.names = names
        self.words = words
        self.head = head
        self.arrays = arrays
        self.groups = groups

    @classmethod
    def of(cls, names: Sequence[str], words: Words, compiled: Compiled) -> Self:
        """The step that computes what was *compiled* over columns *names*."""
        known = {name: list(values) for name, values in words.items()}
        return cls(list(names), known, *compiled.program.to_arrays(), [list(astuple(one)) for one in compiled.groups])

    def program(self) -> Derivation:
        """The program, with every index checked.

        Raises:
            GateRefusal: its arrays are damaged or crafted.
        """
        try:
            table = getattr(self, "table_", self.arrays["table"])
            program = Derivation.from_arrays(self.head, {**self.arrays, "table": table})
            fault = program.fault(len(self.names))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GateRefusal(f"the derived columns are damaged or crafted ({error}); train a new bundle") from error
        if fault is not None:
            raise GateRefusal(f"the model has {fault}; it is damaged or crafted, train a new bundle")
        return program

    def fit(self, table: "pd.DataFrame", target: Any = None) -> Self:
        """Learn the statistics of groups, in which a later one may use those before."""
        del target
        matrix, program = self._coded(table), self.program()
        learned = np.array(self.arrays["table"], dtype=np.float64)
        for statistic, number, by, start, stop in self.groups:
            both = replace(program, table=learned, names=("", ""), results=np.array([number, by], np.int32))
            number, by = both.run(matrix)[:, -2:].T
            learned[start:stop] = grouped(statistic, number, by, stop - start - 2)
        self.table_ = learned
        self.feature_names_in_ = np.array(list(table.columns), dtype=object)
        self.n_features_in_ = len(self.names)
        return self

    def transform(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """*table*, and behind it floats with NaN, and categories as texts with None."""
        program = self.program()
        wide = program.run(self._coded(table))
        made = {
            name: self._shown(name, values)
            for name, values in zip(program.names, wide.T[len(self.names) :], strict=True)
        }
        return table.assign(**made)

    def _coded(self, table: "pd.DataFrame") -> Matrix:
        matrix = np.empty((len(table), len(self.names)))
        for place, name in enumerate(self.names):
            if name in self.words:
                codes = {word: float(code) for code, word in enumerate(self.words[name])}
                codes.setdefault("?", float(len(codes)))  # as ``Contract.frame`` shows an unknown one
                matrix[:, place] = table[name].map(codes).to_numpy(dtype=np.float64, na_value=np.nan)
            else:
                matrix[:, place] = table[name].to_numpy(dtype=np.float64)
        return matrix

    def _shown(self, name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        if name not in self.words:
            return np.ascontiguousarray(values)
        words = np.array([*self.words[name], "?", None], dtype=object)
        last = len(words) - 1
        shown: npt.NDArray[Any] = words[np.where(np.isnan(values), last, values).astype(np.intp)]
        return shown

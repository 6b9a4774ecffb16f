"""Exact Shapley values from a fast form's own arrays, in the unit in which it adds up.

The players are the slots of the coded matrix: all features that are made of one slot, such as its one-hot columns, are
its own. A feature that is derived of several slots belongs to none of them, and a model that asks one is not told apart
here; nor is a mean of models whose sums are bent before they are averaged.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from serving.contract import Matrix
from serving.explaining import walks
from serving.explaining.api import Codes, Explained, Numbers
from serving.scoring.blend import BlendedScorer
from serving.scoring.compile import CompiledScorer, Fast
from serving.scoring.linear import Linear
from serving.scoring.sets import NO_SETS
from serving.scoring.trees import Forest

METHOD = "exact Shapley values against golden rows (interventional: Lundberg and others 2020)"
STRAIGHT_LINKS = ("identity", "shares")  # their answers are the sums themselves
_BENT = {
    "log": "log of {}",
    "log1p": "log of 1 + {}",
    "sqrt": "square root of {}",
    "yeo-johnson": "{} bent by Yeo-Johnson",
}


class NotExact(Exception):
    """A model whose values are not known exactly; the message is a phrase that says why."""


@dataclass(frozen=True)
class Exact:
    """The weighted mean of fast forms against background rows; *stage* says what their numbers are before."""

    members: "tuple[_Member, ...]"
    stage: str = ""
    method: str = METHOD

    def explained(self, matrix: Matrix, classes: Codes) -> Explained:
        """See ``api.Explainer``."""
        parts = [one.explained(matrix, classes) for one in self.members]
        base, score, contributions = (
            sum((one.weight * getattr(part, name) for one, part in zip(self.members, parts, strict=True)))
            for name in ("base", "score", "contributions")
        )
        return Explained(base, score, contributions)  # type: ignore[arg-type]  # a sum of arrays, not the 0 it begins with

    def of(self, code: int) -> str:
        """See ``api.Explainer``."""
        return _space(self.members[0].scorer, code) + self.stage


def exact(scorer: Fast, background: Matrix, stage: str = "") -> Exact:
    """What explains *scorer* against *background* rows; *stage* is as of ``Exact``.

    Raises:
        NotExact: it is bent before it is averaged, or asks what is derived of several slots.
    """
    if isinstance(scorer, CompiledScorer):
        return Exact((_Member(scorer, 1.0, background),), stage)
    if not _averages(scorer):
        raise NotExact("a mean of models that are bent before they are averaged")
    members = zip(scorer.members, scorer.weights, strict=True)
    return Exact(tuple(_Member(one, weight, background) for one, weight in members), stage)


def _averages(scorer: BlendedScorer) -> bool:
    """Whether the mean of the answers is the mean of the sums, all of one kind."""
    kinds = {(one.link, one.back.bend, one.back.per) for one in scorer.members}
    return len(kinds) == 1 and all(link in STRAIGHT_LINKS and bend == "none" for link, bend, _ in kinds)


class _Member:
    """One fast form, its *weight* in the mean, and what the *background* comes to in it."""

    def __init__(self, scorer: CompiledScorer, weight: float, background: Matrix) -> None:
        self.scorer, self.weight = scorer, weight
        sums = scorer.sums
        self._sets = sums.sets if isinstance(sums, Forest) else NO_SETS
        self._sums = replace(sums, single=False, sets=NO_SETS) if isinstance(sums, Forest) else sums
        self._background = self._features(background)
        self._owners = _owners(scorer, _asked(self._sums, self._background.shape[1]))
        self._means = self._sums.raw(self._background).mean(axis=0)

    def explained(self, matrix: Matrix, classes: Codes) -> Explained:
        """See ``api.Explainer``."""
        features = self._features(matrix)
        outputs, factors = _outputs(self.scorer, classes)
        told = self._lines(features, outputs) if isinstance(self._sums, Linear) else self._walks(features, outputs)
        score = self._sums.raw(features)[np.arange(len(features)), outputs]
        return Explained(self._means[outputs] * factors, score * factors, told * factors[:, None])

    def _features(self, matrix: Matrix) -> Matrix:
        features = self.scorer.program.features(np.ascontiguousarray(matrix, np.float64), self.scorer.contract)
        return self._sets.widened(features) if len(self._sets) else features

    def _lines(self, features: Matrix, outputs: Codes) -> Numbers:
        """Coefficient times distance from the mean."""
        out = np.zeros((len(features), self.scorer.program.n_columns))
        asked = np.flatnonzero(self._owners >= 0)
        away = features[:, asked] - self._background[:, asked].mean(axis=0)
        steps = self._sums.coefficients[np.ix_(outputs, asked)] * away  # type: ignore[union-attr]  # of lines
        np.add.at(out.T, self._owners[asked], steps.T)
        return out

    def _walks(self, features: Matrix, outputs: Codes) -> Numbers:
        """Every tree against every background row."""
        out, forest = np.zeros((len(features), self.scorer.program.n_columns)), self._sums
        assert isinstance(forest, Forest)  # noqa: S101 - what is no line is a forest
        walks.pairs(
            features, self._background, forest.nodes, forest.values, forest.roots, self._owners, outputs,
            len(forest.base), self._shares, out,
        )  # fmt: skip
        return out / (len(self._background) * forest.divisor)

    @cached_property
    def _shares(self) -> Matrix:
        most = walks.longest_path(self._sums.nodes, self._sums.roots)  # type: ignore[union-attr]  # of a forest
        return shares_of(min(int(most), self.scorer.program.n_columns))


def shares_of(most: int) -> Numbers:
    """(most, most), at [p, q] the chance that one of p + q + 1 players in a random order stands behind p and before q:
    p! q! / (p + q + 1)!."""
    shares, q = np.empty((most, most)), np.arange(most)
    for p in range(most):
        shares[p] = 1 / (q + 1) if p == 0 else shares[p - 1] * (p / (p + q + 1))
    return shares


def _asked(sums: Forest | Linear, n_features: int) -> npt.NDArray[np.bool_]:
    """(n_features,) which of the features the *sums* depend on."""
    if isinstance(sums, Linear):
        return np.asarray((sums.coefficients != 0).any(axis=0))
    asked = np.zeros(n_features, np.bool_)
    tests = sums.nodes["test"]
    asked[tests[tests >= 0] >> 1] = True
    return asked


def _owners(scorer: CompiledScorer, asked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """(n_features,) the slot that each of the *asked* features, those of sets included, is made of; -1 for others."""
    program, owners = scorer.program, np.full(len(asked), -1, np.int32)
    behind = scorer.sums.sets.columns if isinstance(scorer.sums, Forest) else NO_SETS.columns
    sources = np.concatenate([np.arange(program.n_features), behind])
    for feature in np.flatnonzero(asked):
        slots = program.slots_of(int(sources[feature]))
        if len(slots) > 1:
            names = list(scorer.contract.slots)
            raise NotExact(f"a feature derived of {' and '.join(names[one] for one in slots)}")
        owners[feature] = slots[0] if slots else 0  # what is made of nothing tells no rows apart
    return owners


def _outputs(scorer: CompiledScorer, classes: Codes) -> tuple[Codes, Numbers]:
    """(n_rows,) the sum that stands for each class, and what it is to be multiplied by."""
    if not scorer.contract.target.classes:
        return np.zeros(len(classes), np.int64), np.ones(len(classes))
    places = np.array(scorer.order, np.int64)[classes]
    if not scorer.link.endswith("logistic"):
        return places, np.ones(len(classes))
    odds = 2.0 if scorer.link == "half_logistic" else 1.0
    return np.zeros(len(classes), np.int64), np.where(places == 1, odds, -odds)


_CHANCES = {"shares": "probability of {}", "logistic": "log-odds of {}", "softmax": "score of {} before the softmax"}


def _space(scorer: CompiledScorer, code: int) -> str:
    """What the sums are numbers of."""
    target, back, link = scorer.contract.target, scorer.back, scorer.link
    if target.classes:
        kind = next(kind for kind in _CHANCES if kind in link)
        return _CHANCES[kind].format(target.classes[code])
    told = _BENT.get(back.bend, "{}").format(target.name + (f" per {back.per}" if back.per else ""))
    return f"log of {told}" if link.endswith("exponential") else told

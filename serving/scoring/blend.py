"""The mean of several models' fast forms, and their work on one row done together.

Of one row a call of a compiled loop costs more than most of what it computes. So derived columns are computed once,
equal preprocessing once, and the trees of all members are walked by one call; each number comes of the same operations
in the same order as in its member alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from serving.contract import Contract, Matrix
from serving.features.program import Derivation
from serving.files import canonical_json, sha256_bytes
from serving.scoring import kernels
from serving.scoring.api import Form, Predictions, weighted_mean
from serving.scoring.links import ULPS
from serving.scoring.program import Program
from serving.scoring.sets import Sets
from serving.scoring.trees import Forest

if TYPE_CHECKING:
    from serving.scoring.compile import CompiledScorer

MOST_NODES = 200_000  # of a forest that is walked with others: 5 MB; of larger ones a call costs nothing to speak of


@dataclass(frozen=True)
class BlendedScorer:
    """The weighted mean of several models' fast forms, side by side."""

    members: "tuple[CompiledScorer, ...]"
    weights: tuple[float, ...]

    @property
    def contract(self) -> Contract:
        return self.members[0].contract

    @property
    def form(self) -> Form:
        return "trees" if any(one.form == "trees" for one in self.members) else "linear"

    @property
    def reason(self) -> str:
        return f"the mean of {len(self.members)} models; " + "; ".join(
            dict.fromkeys(one.reason for one in self.members)
        )

    def score(self, matrix: Matrix) -> Predictions:
        """See ``api.SklearnScorer``."""
        if len(matrix) == 1:
            return self.together.score(matrix, self.weights)
        return weighted_mean([one.score(matrix) for one in self.members], self.weights)

    def tolerance(self, matrix: Matrix) -> Predictions:
        """See ``CompiledScorer.tolerance``; where no member may differ the mean may not either."""
        off = weighted_mean([one.tolerance(matrix) for one in self.members], self.weights)
        if not off.any():
            return off
        scale = np.abs(self.score(matrix)).reshape(len(matrix), -1).max(axis=1)
        return np.asarray(off + ULPS * np.spacing(scale))

    def fault(self) -> str | None:
        if not self.members or len(self.members) != len(self.weights):
            return f"{len(self.members)} models with {len(self.weights)} weights"
        return None if np.isfinite(self.weights).all() else f"the weights {list(self.weights)}"

    @cached_property
    def together(self) -> "Together":
        return Together.of(self.members)


@dataclass(frozen=True)
class Grove:
    """Forests of one row, of which each asks its own stretch of the features.

    Attributes:
        nodes, values, roots, base: of all forests, as of ``Forest``, one after the other.
        divisors: what each of the sums is divided by; None where by 1 all.
        trees, outputs: (n_forests + 1,) where those of each forest begin among the roots and the sums, and the end.
        single: (n_forests,) as of each.
        sets: of all, over all features.
    """

    nodes: npt.NDArray[Any]
    values: npt.NDArray[np.float64]
    roots: npt.NDArray[np.int64]
    base: npt.NDArray[np.float64]
    divisors: npt.NDArray[np.float64] | None
    trees: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.int64]
    single: npt.NDArray[np.bool_]
    sets: Sets

    @classmethod
    def of(cls, forests: Sequence[tuple[Forest, slice]], width: int) -> Self:
        """Of forests that have one value in a node, each with where its features stand among *width*."""
        nodes, roots, sets, asked, at, beyond = [], [np.zeros(1, np.int64)], list[Sets](), list[Any](), 0, width
        for forest, part in forests:
            moved = forest.nodes.copy()
            inner = moved["test"] >= 0
            feature, missing = moved["test"][inner] >> 1, moved["test"][inner] & 1
            own = part.stop - part.start
            feature = np.where(feature < own, part.start + feature, beyond + feature - own)
            moved["test"][inner] = feature << 1 | missing
            moved["right"][inner] += at
            nodes.append(moved)
            roots.append(forest.roots[1:] + at)
            sets.append(forest.sets)
            asked.append(forest.sets.columns + part.start)
            at, beyond = at + len(moved), beyond + len(forest.sets)
        whole = [one for one, _ in forests]
        divisors = np.concatenate([np.full(len(one.base), one.divisor) for one in whole])
        return cls(
            nodes=np.concatenate(nodes),
            values=np.concatenate([one.values for one in whole]),
            roots=np.concatenate(roots),
            base=np.concatenate([one.base for one in whole]),
            divisors=None if (divisors == 1.0).all() else divisors,
            trees=_bounds([len(one.roots) - 1 for one in whole]),
            outputs=_bounds([len(one.base) for one in whole]),
            single=np.array([one.single for one in whole]),
            sets=Sets(
                np.concatenate(asked).astype(np.int32),
                _bounds(np.concatenate([np.diff(one.starts) for one in sets])),
                np.concatenate([one.members for one in sets]),
                np.concatenate([one.missing for one in sets]),
            ),
        )

    def raw(self, features: Matrix) -> Matrix:
        """The sums of all forests, (1, n_outputs)."""
        out = np.empty((len(features), len(self.base)))
        asked = self.sets.widened(features) if len(self.sets) else features
        kernels.walk_each(
            asked, self.nodes, self.values, self.roots, self.trees, self.outputs, self.base, self.single, out
        )
        return out if self.divisors is None else out / self.divisors


@dataclass(frozen=True)
class Kin:
    """Members whose sums become answers in one way, so that they can stand below one another as rows do.

    Attributes:
        first: the one of them that does it for all.
        places: of each among the members.
        sums: where theirs stand in the grove; None: *first* is alone, and not of the grove.
        features: where those of *first* stand.
    """

    first: "CompiledScorer"
    places: tuple[int, ...]
    sums: slice | None
    features: slice

    def answers(self, features: Matrix, sums: Matrix, matrix: Matrix) -> Predictions:
        """What each of them says of the one row of *matrix*; numpy may warn."""
        if self.sums is None:
            raw = self.first.sums.raw(features[:, self.features])
        else:
            raw = sums[:, self.sums].reshape(len(self.places), -1)
        said, back = self.first.linked(raw), self.first.back
        return said if back.straight else back.quiet(said, self.first.unit(matrix))


@dataclass(frozen=True)
class Together:
    """What members do to one row.

    Attributes:
        steps: the different programs, each with where its features stand among all, and whether it derives columns
            otherwise than the one before it.
    """

    steps: tuple[tuple[Program, slice, bool], ...]
    grove: Grove | None
    kin: tuple[Kin, ...]

    @classmethod
    def of(cls, members: "tuple[CompiledScorer, ...]") -> Self:
        keys = [_key(one.program) for one in members]
        known = {key: one.program for key, one in zip(keys, members, strict=True)}
        parts = dict(zip(known, _slices([one.n_features for one in known.values()]), strict=True))
        derived = [_key(one.derived) if one.derived else "" for one in known.values()]
        fresh = [True, *(one != other for one, other in itertools.pairwise(derived))]
        families: dict[Any, list[int]] = {}
        forests = [_simple(one.sums) for one in members]
        for place, (one, forest) in enumerate(zip(members, forests, strict=True)):
            alike = (one.link, one.order, one.back, len(forest.base)) if forest else place
            families.setdefault(alike, []).append(place)
        asked, kin, end = list[tuple[Forest, slice]](), list[Kin](), 0
        for places in families.values():
            first, own = members[places[0]], None
            for place in places:
                if forest := forests[place]:
                    asked.append((forest, parts[keys[place]]))
                    own = slice(own.start if own else end, end := end + len(forest.base))
            kin.append(Kin(first, tuple(places), own, parts[keys[places[0]]]))
        grove = Grove.of(asked, list(parts.values())[-1].stop) if asked else None
        return cls(tuple(zip(known.values(), parts.values(), fresh, strict=True)), grove, tuple(kin))

    def score(self, matrix: Matrix, weights: Sequence[float]) -> Predictions:
        """The mean by *weights* of what the members say of the one row of *matrix*, added as ``weighted_mean`` does."""
        first = self.kin[0].first
        matrix = wide = first.checked(matrix)
        features = np.empty((1, self.steps[-1][1].stop))
        for program, part, fresh in self.steps:
            wide = program.widened(matrix) if fresh else wide
            program.prepared(wide, first.contract, features[:, part])
        sums = self.grove.raw(features) if self.grove else features
        said: list[Any] = [None] * len(weights)
        with np.errstate(all="ignore"):
            for one in self.kin:
                for place, answer in zip(one.places, one.answers(features, sums, matrix).tolist(), strict=True):
                    said[place] = answer
        if first.contract.task == "regression":
            return np.array([_added(said, weights)])
        return np.array([[_added(chances, weights) for chances in zip(*said, strict=True)]])


def _added(said: Sequence[float], weights: Sequence[float]) -> float:
    total = said[0] * weights[0]
    for answer, weight in zip(said[1:], weights[1:], strict=True):
        total += answer * weight
    return total


def _simple(sums: Any) -> Forest | None:
    """*sums*, if they are of trees that have one value in a node, and few enough to have a second copy of them."""
    alike = isinstance(sums, Forest) and sums.values.shape[1] == 1 and len(sums.nodes) <= MOST_NODES
    return sums if alike else None


def _bounds(sizes: Any) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _slices(sizes: Sequence[int]) -> list[slice]:
    return [slice(*ends) for ends in itertools.pairwise(_bounds(sizes).tolist())]


def _key(part: Program | Derivation) -> str:
    """Equal for what does the same."""
    head, arrays = part.to_arrays()
    told = {name: [sha256_bytes(array.tobytes()), array.shape] for name, array in arrays.items()}
    return sha256_bytes(canonical_json([head, told]))

"""The housing stock: what a property is, as a function of its number alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from components.data.stable_hash import splitmix64

Numbers = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

REGIONS = ("city", "suburb", "coast", "country")
REGION_SHARES = (0.34, 0.32, 0.14, 0.20)
KINDS = ("flat", "house", "terrace", "plot")
CONDITIONS = ("poor", "fair", "good", "new")

# Shares of KINDS by region, the order of REGIONS.
KIND_SHARES = np.array(
    [[0.70, 0.08, 0.20, 0.02], [0.30, 0.38, 0.27, 0.05], [0.42, 0.38, 0.14, 0.06], [0.10, 0.60, 0.16, 0.14]]
)
# Median area in m2 and its log-scale by kind; all areas are cut to AREA_M2.
AREA_MEDIAN_M2 = np.array([68.0, 138.0, 104.0, 430.0])
AREA_SPREAD = np.array([0.30, 0.26, 0.20, 0.14])
AREA_M2 = (22.0, 590.0)
# Kilometres to the nearest centre by region: least, and scale of the exponential part.
DISTANCE_KM = np.array([[0.4, 2.2], [4.0, 5.0], [8.0, 14.0], [12.0, 18.0]])
MAX_DISTANCE_KM = 120.0
YEAR_BUILT = (1880, 2023)
CONDITION_UNKNOWN = 0.03


@dataclass(frozen=True)
class Properties:
    """Attributes of shape (n,); ``region``, ``kind`` and ``condition`` are positions in their tuples.

    Attributes:
        condition_known: whether the condition stands in the files; the market knows it in any case.
    """

    number: Ids
    region: Ids
    kind: Ids
    condition: Ids
    condition_known: npt.NDArray[np.bool_]
    area_m2: Numbers
    rooms: Numbers
    year_built: Numbers
    distance_km: Numbers

    @property
    def is_plot(self) -> npt.NDArray[np.bool_]:
        plots: npt.NDArray[np.bool_] = self.kind == KINDS.index("plot")
        return plots


def properties(numbers: Ids, seed: int) -> Properties:
    """The properties with these *numbers*; the same number is the same property for ever."""
    region = _pick(_uniform(numbers, seed, 1), np.tile(np.cumsum(REGION_SHARES), (len(numbers), 1)))
    kind = _pick(_uniform(numbers, seed, 2), np.cumsum(KIND_SHARES, axis=1)[region])
    area = np.exp(np.log(AREA_MEDIAN_M2[kind]) + AREA_SPREAD[kind] * ndtri(_uniform(numbers, seed, 3)))
    area = np.round(np.clip(area, *AREA_M2), 1)
    rooms = np.clip(np.round(area / 27.0 + 0.7 * ndtri(_uniform(numbers, seed, 4))), 1, 14)
    age = 45.0 * -np.log(_uniform(numbers, seed, 5))
    year_built = np.clip(np.round(YEAR_BUILT[1] - age), *YEAR_BUILT)
    least, scale = DISTANCE_KM[region].T
    distance = np.minimum(least + scale * -np.log(_uniform(numbers, seed, 6)), MAX_DISTANCE_KM)
    return Properties(
        number=numbers,
        region=region,
        kind=kind,
        condition=_condition(year_built, _uniform(numbers, seed, 7)),
        condition_known=_uniform(numbers, seed, 8) >= CONDITION_UNKNOWN,
        area_m2=area,
        rooms=rooms,
        year_built=year_built,
        distance_km=np.round(distance, 2),
    )


def _condition(year_built: Numbers, uniform: Numbers) -> Ids:
    """Recent homes are mostly new, others poor, fair or good in the shares 15, 40 and 45 %."""
    worn = np.searchsorted([0.15, 0.55], uniform, side="right")
    recent = (year_built >= YEAR_BUILT[1] - 6) & (uniform > 0.2)
    return np.where(recent, CONDITIONS.index("new"), worn).astype(np.int64)


def _uniform(numbers: Ids, seed: int, attribute: int) -> Numbers:
    """Uniform in (0, 1), independent over numbers, seeds and attributes."""
    word = splitmix64(np.array([seed], dtype=np.uint64)) ^ splitmix64(
        np.array([attribute], dtype=np.uint64) << np.uint64(32)
    )
    bits = splitmix64(splitmix64(numbers.astype(np.uint64)) ^ word) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def _pick(uniform: Numbers, cumulative: Numbers) -> Ids:
    """Positions drawn from shares whose running sums are the rows of *cumulative*."""
    return np.asarray((uniform[:, None] >= cumulative[:, :-1]).sum(axis=1), dtype=np.int64)

"""What is counted of the requests to one revision."""

from collections import Counter
from collections.abc import Mapping
from typing import Self

from pydantic import Field

from serving.additive import Additive
from serving.frozen import Frozen


class Tally(Additive, Frozen):
    """Counts of one revision in one epoch, or one hour.

    Attributes:
        refused: answers with a status 400 to 499 that are no errors: the request was to blame, or the arm takes others.
        durations: milliseconds to user requests.
        mirrored: copies sent to it beside the arm that answered, and how many of them failed; in no other count.
        keys: those of the requests that were counted for their sticky key.
        repeated: requests beside those that count, of keys that were counted already or are not taken any more.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    mirrored: int = 0
    mirrored_errors: int = 0
    keys: int = 0
    repeated: int = 0
    durations: Mapping[int, int] = Field(default_factory=dict)

    @property
    def coarse(self) -> Self:
        """The same with at most some 500 durations, each rounded down by less than a twentieth of itself."""
        kept = Counter[int]()
        for duration, count in self.durations.items():
            kept[duration - duration % max(1, 10 ** (len(str(duration)) - 2) // 2)] += count
        return self.model_copy(update={"durations": kept})

    def slow(self, above_ms: float) -> int:
        return sum(count for duration, count in self.durations.items() if duration > above_ms)

    def quantile_ms(self, share: float) -> int | None:
        """The duration that *share* (0 to 1) of the requests did not exceed; None without requests."""
        seen = 0
        for duration in sorted(self.durations):
            seen += self.durations[duration]
            if seen >= share * self.requests:
                return duration
        return None

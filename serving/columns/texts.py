"""Numbers that a text becomes: pure functions of it, called for tables and requests alike."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

Count = Callable[[str], float]


def features(asked: tuple[Any, ...]) -> Iterator[tuple[str, Count]]:
    """Name and function of each number that is *asked* of a text; ``{hash: N}`` is N of them."""
    for one in asked:
        if isinstance(one, str):
            yield one, COUNTS[one]
        else:
            yield from ((f"hash{place}", _hashed(place, one["hash"])) for place in range(one["hash"]))


def _hashed(place: int, buckets: int) -> Count:
    """How many words of a text fall into one of *buckets*; capitals do not count."""
    return lambda text: float(
        sum(zlib.crc32(word.encode("utf-8", "surrogatepass")) % buckets == place for word in text.lower().split())
    )


COUNTS: dict[str, Count] = {
    "length": lambda text: float(len(text)),
    "words": lambda text: float(len(text.split())),
    "digits": lambda text: float(sum(letter.isdecimal() for letter in text)),
    "capitals": lambda text: float(sum(letter.isupper() for letter in text)),
}
"""Characters, words between blanks, digits, and capital letters."""

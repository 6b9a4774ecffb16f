"""Between one cell of a request and the numbers of its slots, one cell at a time."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from serving.columns import moments
from serving.columns.column import Column, spellings
from serving.columns.moments import BLANKS
from serving.columns.texts import features

NO_MOMENT = math.inf  # a code that no cell of the coded matrix has: the text says no moment
Codes = tuple[float, ...]


def words_of(column: Column) -> dict[str | None, float]:
    """The code of each text that a category column may hold, as it stands there, and of None."""
    codes: dict[str | None, float] = {word: float(code) for code, word in enumerate(column.values)}
    codes |= {text: codes[word] for text, word in spellings(column.values).items()}
    return codes | dict.fromkeys(column.null_words, math.nan) | {None: math.nan}


def category(column: Column) -> Callable[[str | None], float]:
    """The code of a text of *column*; ``len(values)`` for one that is none of its categories."""
    codes, trimmed, other = words_of(column), column.trimmed, float(len(column.values))

    def code(word: str | None) -> float:
        found = codes.get(word)
        if found is None:
            found = codes.get(word.strip(BLANKS)) if trimmed and word is not None else None
        return other if found is None else found

    return code


def moment(column: Column) -> Callable[[Any], float]:
    """The code of a text or number of *column*: seconds, NaN where it is empty, ``NO_MOMENT`` where it says none."""
    reading, nothing = column.reading, frozenset(column.null_words)

    def code(cell: Any) -> float:
        if cell is None or (isinstance(cell, str) and cell.strip(BLANKS) in nothing):
            return math.nan
        told = reading.of_text(cell) if isinstance(cell, str) else reading.of_number(cell)
        return NO_MOMENT if told is None else moments.seconds(told)

    return code


def text(column: Column) -> Callable[[str | None], Codes]:
    """The numbers of a text of *column*, NaN each where it is empty."""
    counts = [count for _, count in features(column.features)]
    nothing, none = frozenset(column.null_words), (math.nan,) * len(counts)

    def codes(cell: str | None) -> Codes:
        if cell is None or cell.strip(BLANKS) in nothing:
            return none
        return tuple(count(cell) for count in counts)

    return codes


def coder(column: Column) -> Callable[[Any], Codes]:
    """The codes of a cell of *column*, which holds what a table means: a number, a truth, a text or None."""
    if column.type == "text":
        return text(column)
    one: Mapping[str, Any] = {"category": category, "datetime": moment}
    if column.type in one:
        code = one[column.type](column)
        return lambda cell: (code(cell),)
    empty = frozenset(column.null_numbers)
    return lambda cell: (math.nan if cell is None or cell in empty else float(cell),)


def spoken(column: Column) -> Callable[[float], Any]:
    """A cell of a request that has the code which is given; of a text, some text for the code of its first slot."""
    words = (*column.values, unknown_word(column))
    say: dict[str, Callable[[float], Any]] = {
        "category": lambda code: words[int(code)],
        "bool": bool,
        "int": int,
        "datetime": lambda code: moments.shown(moments.micros_of(code)),
        "text": lambda code: f"Text of {code:g}",
    }
    told = say.get(column.type, float)
    return lambda code: None if code != code else told(code)


def unknown_word(column: Column) -> str:
    """A text that is none of a category's, and does not mean an empty cell."""
    known = words_of(column)
    return next(word for word in ("?" * count for count in range(1, len(known) + 2)) if word not in known)

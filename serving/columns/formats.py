"""Formats of moments, compiled to regular expressions in the syntax that Python and polars share.

Directives: %Y %y %m %b %B %d %j %H %I %p %M %S %f %z %T %F %%; %a and %A are read and not looked at. Numbers may lack
their leading zero, unless digits follow at once.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

EPOCHS: Final = {"epoch_s": 1e6, "epoch_ms": 1e3}
"""Counts, and the microseconds of one."""
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
BLANKS: Final = " \t\r\n\f\v\u00a0"
SAMPLE: Final = datetime(2014, 3, 25, 14, 5, 9)  # whose numbers nobody takes for one another

_NUMBERS = {"Y": "4", "y": "2", "m": "1,2", "d": "1,2", "j": "1,3", "H": "1,2", "I": "1,2", "M": "1,2", "S": "1,2"}
_WORDS = {
    "b": f"(?P<b>(?i:{'|'.join(MONTHS)}))[a-zA-Z]{{0,6}}[.]?",
    "p": "(?P<p>[aApP])[.]?[mM][.]?",
    "f": "(?P<f>[0-9]{1,9})",
    "z": "(?P<z>[zZ]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)",
    "a": "[a-zA-Z]{2,9}[.]?",
    "%": "%",
}
_LONG = {"%T": "%H:%M:%S", "%F": "%Y-%m-%d", "%B": "%b", "%A": "%a", "%-": "%"}
ISO: Final = (
    "(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
    "(?:[tT ](?P<H>[0-9]{2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,9}))?)?)?"
    "(?: ?" + _WORDS["z"] + ")?"
)
_EPOCH: Final = "(?P<e>-?[0-9]{1,18}(?:[.][0-9]{1,330})?(?:[eE][+-]?[0-9]{1,3})?)"
ISO_SAMPLES: Final = tuple(
    f"2014-03-04{clock}{end}"
    for clock in ("", "T05:06", " 05:06", "T05:06:07", " 05:06:07", " 05:06:07.25")
    for end in ("", "Z", "+01:00")
)
"""Texts of ISO 8601 that a format must not read as other moments."""
EDGE: Final = f"[{BLANKS}]*"


def pattern(form: str) -> str:
    """The expression for texts of *form*, without its edges.

    Raises:
        ValueError: a directive is unknown or stands twice, or together they name no day.
    """
    if form in EPOCHS:
        return _EPOCH
    for word, meant in _LONG.items():
        form = form.replace(word, meant)
    found = "".join(_pieces(form))
    groups = re.findall(r"\(\?P<(\w)>", found)
    if len(set(groups)) < len(groups):
        raise ValueError(f"a directive stands twice in {form!r}")
    known = set(groups)
    if not known & {"Y", "y"} or not ("j" in known or ("d" in known and known & {"m", "b"})):
        raise ValueError(f"expected directives of year, month and day such as '%d.%m.%Y %H:%M', seen {form!r}")
    if ("I" in known) != ("p" in known):
        raise ValueError(f"%I and %p only mean an hour together, seen {form!r}")
    return found


def _pieces(form: str) -> Iterator[str]:
    """The expression of each directive and of what stands between them."""
    parts = re.findall(r"%.?|[^%]", form, re.DOTALL)
    for part, behind in zip(parts, [*parts[1:], ""], strict=True):
        if len(part) == 1 and part != "%":
            yield re.sub(r"([][.\\+*?(){}|^$#&~-])", r"\\\1", part)
        elif (letter := part[1:]) in _NUMBERS:
            count = _NUMBERS[letter]
            closed = behind[1:] in _NUMBERS or behind[1:] == "f" or behind.isdigit()
            yield f"(?P<{letter}>[0-9]{{{count[-1] if closed and behind else count}}})"
        elif letter in _WORDS:
            yield _WORDS[letter]
        else:
            raise ValueError(f"{part!r} is no directive that is read; they are %Y %y %m %b %d %j %H %I %p %M %S %f %z")


def sample(form: str) -> str:
    """A text that *form* reads."""
    if form in EPOCHS:
        return str(round(SAMPLE.replace(tzinfo=UTC).timestamp() * 1e6 / EPOCHS[form]))
    return SAMPLE.replace(tzinfo=UTC).strftime(form)

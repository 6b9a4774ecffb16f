"""What our pages are put together from.

A plain ``str`` handed to a builder is text and is escaped; only :class:`Html` passes as it is. Pages are well-formed
XML too, carry no scripts and load nothing.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal
from urllib.parse import quote, urlsplit

from serving.pages.style import CSS

Tone = Literal["good", "bad", "wait", ""]

_CONTROL = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}  # no document may hold them
_TRACKS = ('<span class="bar"', '<div class="share"')  # a cell with one of them takes the room there is
_ALONE = frozenset({"circle", "meta", "path", "rect"})  # elements without content


class Html(str):
    """Markup that a builder made; it is placed as it is."""

    __slots__ = ()

    def __add__(self, other: str) -> "Html":
        return Html(f"{self}{text(other)}")


def text(value: str) -> Html:
    """*value* escaped, unless it is markup already."""
    return value if isinstance(value, Html) else Html(escape(value.translate(_CONTROL)))


def join(parts: Iterable[str], between: str = "") -> Html:
    return Html(escape(between).join(text(part) for part in parts))


def tag(name: str, /, *content: str, cls: str = "", **attributes: str | float) -> Html:
    """An element around *content*; numbers among the attributes are written to a tenth, ``_`` in a name is a ``-``."""
    named = {"class": cls, **attributes} if cls else attributes
    given = "".join(f' {key.replace("_", "-")}="{_value(value)}"' for key, value in named.items())
    return Html(f"<{name}{given}/>" if name in _ALONE else f"<{name}{given}>{join(content)}</{name}>")


def page(title: str, description: str, body: Iterable[str], *, foot: str, refresh_s: int = 0) -> str:
    """A whole document; *description* is what a search or a preview shows of it, 0 s is no refresh."""
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", name="description", content=description),
        tag("meta", http_equiv="refresh", content=refresh_s) if refresh_s else "",
        tag("title", title),
        Html(f"<style>{CSS}</style>"),
    ]
    whole = tag("html", tag("head", *head), tag("body", tag("main", *body), tag("footer", foot)), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def section(title: str, *content: str) -> Html:
    """*content* under a heading; nothing without content."""
    return tag("section", tag("h2", title), *content) if any(content) else Html()


def tone(good: bool) -> Tone:
    return "good" if good else "bad"


def badge(word: str, tone: Tone) -> Html:
    return tag("span", word, cls=f"badge {tone}".strip())


def verdict(tone: Tone, *content: str) -> Html:
    """The box that says first what a page comes to."""
    return tag("div", *content, cls=f"verdict {tone}".strip())


def identifier(value: str) -> Html:
    """A digest, id or path in a fixed-width face that may break anywhere."""
    return tag("span", value, cls="id")


def link(href: str, words: str) -> Html:
    """A link to a file beside the page; an address elsewhere stays text, since pages lead nowhere else."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc or not href:
        return text(words)
    return tag("a", words, href=quote(href, safe="/.#"))


def pairs(given: Iterable[tuple[str, str]]) -> Html:
    """Names and their values, one under the other."""
    items = [tag("dt", name) + tag("dd", value) for name, value in given]
    return tag("dl", *items) if items else Html()


def tile(name: str, value: str, notes: Iterable[str] = ()) -> Html:
    """A figure to see at a glance; what follows the first space of *value* is its unit."""
    figure, _, unit = value.partition(" ")
    shown = join([figure, tag("span", f" {unit}", cls="unit")]) if unit else text(value)
    lines = [tag("span", note, cls="note") for note in notes]
    return tag("div", tag("div", name, cls="name"), tag("div", shown, cls="value"), *lines, cls="tile")


def tiles(made: Iterable[str]) -> Html:
    return tag("div", *made, cls="tiles")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str] | Html],
    *,
    numbers: Sequence[int] = (),
    aside: Sequence[int] = (),
) -> Html:
    """A table whose columns *numbers* (positions) are aligned as figures; a row that is markup is placed as it is.

    The columns *aside* are left out on a narrow screen: what they say stands in the row anyway.
    """
    if not (rows := list(rows)):
        return Html()
    top = tag("thead", tag("tr", *_cells("th", head, numbers, aside))) if head else ""
    body = [one if isinstance(one, Html) else row(one, numbers=numbers, aside=aside) for one in rows]
    return tag("div", tag("table", top, tag("tbody", *body)), cls="scroll")


def row(cells: Sequence[str], *, numbers: Sequence[int] = (), aside: Sequence[int] = (), cls: str = "") -> Html:
    return tag("tr", *_cells("td", cells, numbers, aside), cls=cls)


def group_row(title: str, width: int) -> Html:
    """A row that names the rows below it, *width* columns wide."""
    return tag("tr", tag("th", title, colspan=width), cls="group")


def bar(share: float) -> Html:
    """A bar of *share*, 0..1, of the width there is."""
    return tag("span", cls="bar", style=f"width:{_width(share)}")


def meter(share: float, mark: float, tone: Tone, words: str) -> Html:
    """*words* under a track that is filled to *share*, with a line at *mark*, both 0..1 of its length."""
    line = tag("u", style=f"left:{_width(mark)}")
    return tag("div", tag("i", cls=tone, style=f"width:{_width(share)}"), line, cls="meter") + words


def strip(parts: Sequence[float]) -> Html:
    """One bar cut into up to three parts; the colours are those of :func:`keys`."""
    total = sum(parts) or 1
    cut = [tag("i", cls=f"k{k}", style=f"flex:{part / total:.4f}") for k, part in enumerate(parts) if part]
    return tag("div", *cut, cls="share")


def keys(names: Sequence[str]) -> Html:
    """What the parts of a :func:`strip` are."""
    return tag("div", *(tag("span", tag("span", cls=f"key k{k}"), one) for k, one in enumerate(names)), cls="keys")


def shares(parts: Sequence[tuple[str, int]]) -> Html:
    """One bar cut into up to three named counts; those of 0 are left out."""
    named = [(name, count) for name, count in parts if count]
    total = sum(count for _, count in named) or 1
    words = [f"{name} {count:,} ({100 * count / total:.1f} %)" for name, count in named]
    return strip([count for _, count in named]) + keys(words)


def figure(title: str, chart: Html, caption: str = "") -> Html:
    """A picture of ``charts``; its own heading gives way to *title*."""
    return tag("figure", tag("b", title), chart, tag("figcaption", caption) if caption else "")


def figures(made: Iterable[str]) -> Html:
    return tag("div", *made, cls="plots") if (made := list(made)) else Html()


def beside(*content: str) -> Html:
    """Blocks next to each other where there is room."""
    return tag("div", *content, cls="beside")


def chain(items: Iterable[Sequence[str]]) -> Html:
    """(title, content, and optionally a class and a time) one after the other along a line."""
    return tag("ol", *(_entry(*item) for item in items), cls="chain")


def commands(lines: Iterable[str]) -> Html:
    return tag("pre", "\n".join(lines))


def _entry(title: str, content: str, cls: str = "", at: str = "") -> Html:
    return tag("li", tag("span", at, cls="at") if at else "", tag("b", title), content, cls=cls)


def _value(value: str | float) -> str:
    return escape(value.translate(_CONTROL)) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def _width(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


def _cells(name: str, cells: Sequence[str], numbers: Sequence[int], aside: Sequence[int]) -> list[Html]:
    made = []
    for position, content in enumerate(cells):
        words = ["track"] if isinstance(content, Html) and content.startswith(_TRACKS) else []
        words += [word for word, where in (("num", numbers), ("aside", aside)) if position in where]
        made.append(tag(name, content, cls=" ".join(words)))
    return made

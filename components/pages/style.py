"""How our pages look and are put together: one style sheet and a few builders of HTML.

A plain ``str`` handed to a builder is text and is escaped; only :class:`Html` passes as it is. Pages are well-formed
XML too, carry no scripts and load nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlsplit

CSS = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b2530;--soft:#5a6876;--line:#dde3e9;--panel:#f5f7f9;
--link:#1d5fc9;--good:#1b7443;--good-wash:#e4f4eb;--bad:#b3261e;--bad-wash:#fcebe9;--mark:#fff4dc;
--plot-ink:var(--ink);--plot-soft:#e4e8ed;--plot-main:#2f6fde;--plot-other:#c2701c;--plot-alarm:#c8372d}
@media screen and (prefers-color-scheme:dark){:root{--page:#12171d;--ink:#e4e9ee;--soft:#9aa8b5;--line:#2c3641;
--panel:#1a212a;--link:#8ab4f8;--good:#6fcf97;--good-wash:#16301f;--bad:#f28b82;--bad-wash:#3a1d1b;--mark:#33290f;
--plot-soft:#2c3641;--plot-main:#7aa7f7;--plot-other:#e8a35c;--plot-alarm:#f0776e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main,footer{max-width:1120px;margin:0 auto;padding:0 32px}
main{padding-top:40px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.01em;margin:0}
h2{font-size:21px;line-height:1.3;margin:56px 0 12px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:16px;margin:28px 0 8px}
p{margin:0 0 12px;max-width:72ch}
a{color:var(--link);text-underline-offset:2px}
code,pre,.id{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{background:var(--panel);border-radius:6px;padding:14px 16px;margin:8px 0 12px;white-space:pre-wrap}
.over{color:var(--soft);margin:0 0 4px}
.soft,.note{color:var(--soft)}
.note{font-size:14px}
.badge{display:inline-block;padding:1px 9px;border-radius:4px;border:1px solid;font-weight:600;font-size:14px;
line-height:1.5;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}
.badge.good{background:var(--good-wash)}.badge.bad{background:var(--bad-wash)}
.verdict{border-left:4px solid var(--good);background:var(--good-wash);padding:16px 20px;border-radius:0 6px 6px 0;
margin:22px 0 20px}
.verdict.bad{border-color:var(--bad);background:var(--bad-wash);color:inherit}
.verdict.good{color:inherit}
.verdict p{font-size:19px;line-height:1.45;margin:0}
.verdict ul{margin:10px 0 0;padding-left:20px}
.verdict .badge{font-size:15px;margin-right:8px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(178px,1fr));gap:12px;margin:18px 0}
.tile{background:var(--panel);border-radius:6px;padding:14px 16px}
.tile .name{color:var(--soft);font-size:14px}
.tile .value{font-size:25px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile .unit{font-size:15px;font-weight:400;color:var(--soft)}
.tile .note{display:block;line-height:1.45}
dl{display:grid;grid-template-columns:fit-content(45%) 1fr;gap:6px 20px;margin:12px 0 16px}
dt{color:var(--soft);min-width:144px;overflow-wrap:anywhere}dd{margin:0;min-width:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:8px 0 16px}
table{border-collapse:collapse;width:100%;font-size:15px;line-height:1.45}
th,td{text-align:left;vertical-align:baseline;padding:7px 20px 7px 0;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:8px}th:last-child,td:last-child{padding-right:8px}
thead th{font-weight:600;font-size:14px;color:var(--soft);vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:400}
td .long{min-width:210px}
.nowrap{white-space:nowrap}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.worst>*{background:var(--mark)}
tr.group th{font-weight:600;padding-top:18px}
.bar{display:block;height:8px;min-width:2px;border-radius:2px;background:var(--plot-main)}
.worst .bar{background:var(--plot-other)}
td.track{width:24%;min-width:110px;vertical-align:middle}
.share{display:flex;gap:2px;height:14px;border-radius:3px;overflow:hidden;margin:14px 0 6px}
.share i{background:var(--plot-main)}.share i+i{background:var(--plot-other)}.share i+i+i{background:var(--soft)}
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px;background:var(--plot-main)}
.key.two{background:var(--plot-other)}.key.three{background:var(--soft)}
.keys{display:flex;flex-wrap:wrap;gap:4px 24px;font-size:14px;margin-bottom:16px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:20px 24px;margin:16px 0}
figure{margin:0;min-width:0}figure>b{font-weight:600;display:block}
figure svg.sw-plot{display:block;width:100%;max-width:680px;margin-top:-8px;font-size:14px}
figure .sw-plot .head{display:none}
figcaption{color:var(--soft);font-size:14px;max-width:66ch}
ol.chain{list-style:none;margin:16px 0;padding:0}
.chain li{position:relative;padding:0 0 16px 26px}
.chain li:before{content:"";position:absolute;left:5px;top:13px;bottom:-9px;width:2px;background:var(--line)}
.chain li:last-child:before{display:none}
.chain li:after{content:"";position:absolute;left:0;top:6px;width:12px;height:12px;border-radius:50%;
border:2px solid var(--plot-main);background:var(--page)}
.chain li.alarm:after{border-color:var(--plot-alarm);background:var(--plot-alarm)}
.chain li.good:after{border-color:var(--good);background:var(--good)}
.chain li.good{color:inherit}
.chain b{font-weight:600;margin-right:8px}
.chain .at{display:inline-block;min-width:46px;color:var(--soft);font-variant-numeric:tabular-nums;font-size:14px}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:8px 40px}
.beside>*{min-width:0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:14px;margin:14px 0}
.card{border:1px solid var(--line);border-radius:6px;padding:14px 18px}
.card p{margin:6px 0 0}
footer{color:var(--soft);font-size:14px;padding-top:20px;padding-bottom:48px;margin-top:48px}
@media(max-width:640px){main,footer{padding-left:16px;padding-right:16px}main{padding-top:24px}h1{font-size:25px}
h2{margin-top:40px}.verdict p{font-size:17px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tile{padding:10px 12px}.tile .value{font-size:20px}
figure svg.sw-plot{font-size:16px}.aside{display:none}th,td{padding-right:14px}}
@media print{@page{margin:16mm 14mm}body{font-size:10.5pt}main,footer{max-width:none;padding:0}h2{margin-top:28px}
h2,h3{break-after:avoid}figure,tr,.tile,.card,.chain li,.verdict,dl{break-inside:avoid}
.scroll{overflow:visible}.plots{grid-template-columns:1fr 1fr}
table{font-size:8.5pt}th,td{padding-right:10px}td.track{width:12%;min-width:48px}
.beside figure svg.sw-plot{max-width:420px}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""

_CONTROL = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}  # no document may hold them


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


def tag(name: str, *content: str, cls: str = "") -> Html:
    """An element around *content*."""
    opening = f'<{name} class="{escape(cls)}">' if cls else f"<{name}>"
    return Html(f"{opening}{join(content)}</{name}>")


def page(title: str, description: str, body: Iterable[str], *, foot: str) -> str:
    """A whole document; *description* is what a search or a preview shows of it."""
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width,initial-scale=1"/>'
        f'<meta name="description" content="{escape(description)}"/><title>{escape(title)}</title>'
        f"<style>{CSS}</style>"
    )
    inner = f"<main>{join(body)}</main>{tag('footer', foot)}"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{inner}</body></html>\n'


def section(title: str, *content: str) -> Html:
    return tag("section", tag("h2", title), *content)


def badge(word: str, good: bool) -> Html:
    return tag("span", word, cls="badge good" if good else "badge bad")


def identifier(value: str) -> Html:
    """A digest, id or path in a fixed-width face that may break anywhere."""
    return tag("span", value, cls="id")


def link(href: str, words: str) -> Html:
    """A link to a file beside the page; an address elsewhere stays text, since pages lead nowhere else."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc or not href:
        return text(words)
    return Html(f'<a href="{escape(quote(href, safe="/.#"))}">{text(words)}</a>')


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
    top = tag("tr", *(_cell("th", word, _classes(k, numbers, aside)) for k, word in enumerate(head)))
    body = [one if isinstance(one, Html) else row(one, numbers=numbers, aside=aside) for one in rows]
    return tag("div", tag("table", tag("thead", top), tag("tbody", *body)), cls="scroll")


def row(cells: Sequence[str], *, numbers: Sequence[int] = (), aside: Sequence[int] = (), cls: str = "") -> Html:
    return tag("tr", *(_cell("td", cell, _classes(k, numbers, aside)) for k, cell in enumerate(cells)), cls=cls)


def group_row(title: str, width: int) -> Html:
    """A row that names the rows below it, *width* columns wide."""
    return Html(f'<tr class="group"><th colspan="{width}">{text(title)}</th></tr>')


def bar(share: float) -> Html:
    """A bar of *share*, 0..1, of the width there is."""
    return Html(f'<span class="bar" style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></span>')


def shares(parts: Sequence[tuple[str, int]]) -> Html:
    """One bar cut into up to three named counts."""
    total = sum(count for _, count in parts) or 1
    cut = [Html(f'<i style="flex:{count / total:.4f}"></i>') for _, count in parts if count]
    named = [(name, count) for name, count in parts if count]
    keys = [
        tag("span", tag("span", cls=f"key {word}".strip()), f"{name} {count:,}", f" ({100 * count / total:.1f} %)")
        for word, (name, count) in zip(("", "two", "three"), named, strict=False)
    ]
    return join([tag("div", *cut, cls="share"), tag("div", *keys, cls="keys")])


def figure(title: str, svg: str, caption: str = "") -> Html:
    """A picture of ``plots``, which escapes what it draws; its own heading gives way to *title*."""
    return tag("figure", tag("b", title), Html(svg), tag("figcaption", caption) if caption else "")


def figures(made: Iterable[str]) -> Html:
    return tag("div", *made, cls="plots") if (made := list(made)) else Html()


def beside(*content: str) -> Html:
    """Blocks next to each other where there is room."""
    return tag("div", *content, cls="beside")


def chain(items: Iterable[tuple[str, str, str]]) -> Html:
    """(title, content, class) one after the other along a line."""
    return tag("ol", *(tag("li", tag("b", title), content, cls=cls) for title, content, cls in items), cls="chain")


def commands(lines: Iterable[str]) -> Html:
    return tag("pre", "\n".join(lines))


def percent(share: float) -> str:
    """*share*, 0..1, to three digits: ``8.94 %``."""
    return f"{100 * share:.3g} %"


def moment(at: datetime) -> str:
    """``1 June 2026, 09:30 UTC``."""
    utc = at.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


def _classes(position: int, numbers: Sequence[int], aside: Sequence[int]) -> str:
    return " ".join(word for word, where in (("num", numbers), ("aside", aside)) if position in where)


def _cell(name: str, content: str, cls: str) -> Html:
    track = isinstance(content, Html) and content.startswith('<span class="bar"')
    return tag(name, content, cls="track" if track else cls)

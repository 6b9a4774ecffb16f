"""What the name of a column suggests: never alone a proof, always a reason that can be told."""

import re
from collections.abc import Sequence

_TARGETS = ("target", "label", "class", "y", "outcome", "response")
_USUAL = (
    *(
        "price",
        "saleprice",
        "sale_price",
        "sold_for",
        "amount",
        "cost",
        "value",
        "fare",
        "total_fare",
        "income",
        "salary",
    ),
    *("count", "cnt", "rentals", "demand", "sales", "revenue", "consumption", "load", "energy", "pm2_5", "pm25"),
    *("quality", "grade", "score", "rating", "survived", "churn", "churned", "default", "defaulted", "subscribed"),
    *("diagnosis", "species", "cultivar", "progression", "readmitted", "fraud", "is_fraud", "approved", "converted"),
)
_ID = re.compile(
    r"(^|_)(id|ids|key|uuid|guid|no|nr|number|num|identifier|index|idx|rownames?|serial|ref|reference|pid|code)$"
)
_ROW = re.compile(r"^(index|idx|rownames?|row|row_?(id|no|nr|number|num|index)|unnamed.*|#\d+|instant|level_0)$")
_CODE = re.compile(r"(^|_)(zip|zip_?code|postal|postcode|post_?code|zone|zone_?id|zones|code|area_code|plz)(_|$)")
_TIME = re.compile(
    r"(^|_)(date|time|datetime|timestamp|day|month|year|dteday|at|on|when|ts|moment|hour|epoch|yyyymmdd)(_|$)"
)
_BIRTH = re.compile(
    r"(^|_)(birth|birthday|dob|born|founded|built|since|joined|opened|renovated|registered|signup|hired)(_|$)"
)
_AFTER = re.compile(
    r"(^|_)(after|afterwards|closed|ended|finished|resolved|returned|cancell?ed|cancellation|cancel|settled|completed"
    r"|completion|outcome|result|followup|follow_up|future|next|post|final|discharged|discharge|refund|refunded"
    r"|chargeback|recovered|recovery|collections?|writeoff|written_off|actual|realized|realised|churn_reason)(_|$)"
)
_PARTS = {
    "year": re.compile(r"^(year|yr|yyyy)$"),
    "month": re.compile(r"^(month|mon|mnth|mm)$"),
    "day": re.compile(r"^(day|dy|dd|day_of_month|mday)$"),
    "hour": re.compile(r"^(hour|hr|hh|hour_of_day)$"),
    "minute": re.compile(r"^(minute|min|mi)$"),
}
_TIME_OF_DAY = re.compile(r"(^|_)(time|clock|tod|hour)(_|$)")
_DATE_ONLY = re.compile(r"(^|_)(date|day|dteday|dt)(_|$)")
_NO_WORD = re.compile(r"[^a-z0-9#]+")


def plain(name: str) -> str:
    """*name* in small letters with ``_`` between its words: ``SalePrice`` and ``Sale Price`` are ``sale_price``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return _NO_WORD.sub("_", spaced.lower()).strip("_") or name


def targets(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns called as targets are wherever they stand, and those that often are one; in the table's order."""
    words = {name: {plain(name), plain(name).replace("_", "")} for name in columns}
    named = [name for name in columns if words[name] & set(_TARGETS)]
    usual = [name for name in columns if words[name] & set(_USUAL)]
    return named, usual


def suggests_id(name: str) -> bool:
    """Whether it names things, and not merely the rows of an export."""
    return _ID.search(plain(name)) is not None and not suggests_row(name)


def suggests_row(name: str) -> bool:
    """Whether it is what exports call the number of a row."""
    return _ROW.search(plain(name)) is not None


def suggests_code(name: str) -> bool:
    """Whether digits in it are names and no amounts, such as those of zip codes."""
    return _CODE.search(plain(name)) is not None


def suggests_time(name: str) -> bool:
    return _TIME.search(plain(name)) is not None


def suggests_birth(name: str) -> bool:
    """Whether its date is when the thing began, long before the row's event."""
    return _BIRTH.search(plain(name)) is not None


def suggests_afterwards(name: str) -> bool:
    """Whether it sounds as if it were known only when the target is known too."""
    return _AFTER.search(plain(name)) is not None


def part_of_time(name: str) -> str:
    """Which of year, month, day, hour and minute it names; empty for none."""
    return next((part for part, form in _PARTS.items() if form.fullmatch(plain(name))), "")


def suggests_clock(name: str) -> bool:
    return _TIME_OF_DAY.search(plain(name)) is not None and not _DATE_ONLY.search(plain(name))


def model_name(text: str) -> str:
    """A name that a model can have, made of the last part of *text*, such as a file's."""
    stem = re.split(r"[?#]", text)[0].rstrip("/").rpartition("/")[2].partition(".")[0] or "model"
    word = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    word = word if word[:1].isalpha() else f"model-{word}".rstrip("-")
    return word[:40].rstrip("-")

"""How the files of a table are written."""

import codecs
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from serving.frozen import Frozen

# One character of ASCII that ends no line.
Mark = Annotated[str, Field(pattern=r"\A[\x01-\x09\x0b\x0c\x0e-\x7f]\z")]


class Dialect(Frozen):
    """How CSV files are written; what is left open is found in each file.

    Attributes:
        encoding: of the text, such as utf-8, cp1252 or utf-16.
        separator: the one character between two cells.
        decimal: what stands before the decimals of a number; with ``,`` a point groups thousands.
        quote: what encloses a cell that holds a separator, a quote (doubled) or a line's end.
    """

    separator: Mark | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    quote: Mark = '"'

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            b"a".decode(value or "utf-8", "ignore")  # which is no text by base64, and by idna no half of one is
            return value if value is None else codecs.lookup(value).name
        except (LookupError, UnicodeError):
            raise ValueError("expected the name of an encoding such as utf-8, cp1252 or utf-16") from None

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if self.separator == self.quote:
            raise ValueError(f"'separator' and 'quote' must differ, seen {self.quote!r} for both")
        return self

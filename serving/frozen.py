"""The base of all values that come from files: they cannot change, and they refuse keys they do not know."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.files import write_text

MOST = 1_000_000_000
Count = Annotated[int, Field(ge=1, le=MOST)]  # of rows, labels or requests; none of our logs ever holds more
TINY = 1e-9  # a chance or share below it is that of nothing that is ever seen


class Frozen(BaseModel):
    """A value that cannot change and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def write_model(path: Path, value: BaseModel) -> None:
    """Readable JSON of *value*, which costs a fifth of what ``write_json`` does."""
    write_text(path, value.model_dump_json(indent=2) + "\n")

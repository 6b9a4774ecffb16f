"""The base of all values that come from files: they cannot change, and they refuse keys they do not know."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that cannot change and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

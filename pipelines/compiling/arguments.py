"""What a pipeline can be given: every argument travels as text inside of one command line."""

from collections.abc import Mapping
from typing import Any

from serving.errors import UsageError

LARGEST = 100_000  # characters; a parameter travels inside one command line argument, which ends at about 128 KiB


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse what would not arrive as it is.

    Raises:
        UsageError: a text that KFP would take for a placeholder, or a larger one than a command line carries.
    """
    for name, value in arguments.items():
        text = str(value)
        if "{{$" in text:
            raise UsageError(f"argument {name!r} contains '{{{{$', which KFP replaces; encode it")
        if len(text) > LARGEST:
            raise UsageError(
                f"argument {name!r} has {len(text):,} characters, at most {LARGEST:,} travel; "
                "write it to a file and pass its address"
            )

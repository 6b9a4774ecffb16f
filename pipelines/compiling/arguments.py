"""What a compiled pipeline asks for, and whether that is what it is given."""

from collections.abc import Mapping
from typing import Any

from serving.errors import UsageError

LARGEST = 100_000  # characters; a parameter travels inside one command line argument, which ends at about 128 KiB
_TYPES: Mapping[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list, tuple),
    "STRUCT": (dict,),
}


def check_arguments(ir: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Hold *arguments* against the inputs of the pipeline *ir*.

    Raises:
        UsageError: an unknown or absent argument, one of another type, or text that KFP would not carry as it is.
    """
    asked = ir["root"].get("inputDefinitions", {}).get("parameters", {})
    name = ir["pipelineInfo"]["name"]
    if unknown := sorted(set(arguments) - set(asked)):
        raise UsageError(f"pipeline {name!r} has no argument {unknown[0]!r}; it takes {', '.join(sorted(asked))}")
    absent = sorted(
        key for key, spec in asked.items() if key not in arguments and not {"defaultValue", "isOptional"} & set(spec)
    )
    if absent:
        raise UsageError(f"pipeline {name!r} needs the argument {absent[0]!r}, which has no default; give it a value")
    for key, value in arguments.items():
        _check_value(name, key, asked[key]["parameterType"], value)


def _check_value(pipeline: str, key: str, kind: str, value: Any) -> None:
    number_as_flag = isinstance(value, bool) and kind != "BOOLEAN"
    if not isinstance(value, _TYPES.get(kind, (object,))) or number_as_flag:
        raise UsageError(f"argument {key!r} of pipeline {pipeline!r} takes {kind}, got {value!r}")
    text = str(value)
    if "{{$" in text:
        raise UsageError(f"argument {key!r} of pipeline {pipeline!r} contains '{{{{$', which KFP replaces; encode it")
    if len(text) > LARGEST:
        raise UsageError(
            f"argument {key!r} of pipeline {pipeline!r} has {len(text):,} characters, at most {LARGEST:,} travel; "
            "write it to a file and pass its address"
        )

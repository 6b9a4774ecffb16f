"""What the server and its model are, in the words of the V2 protocol."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from serving.contract import Column, Contract


def _own_version() -> str:
    """The image of the server holds the code alone, not the installed project; its tag says which code."""
    try:
        return version("slipway")
    except PackageNotFoundError:
        return "image"


SERVER = {"name": "slipway", "version": _own_version(), "extensions": ["binary_tensor_data"]}
"""V2 metadata of the server."""


def datatype(column: Column) -> str:
    """The V2 datatype metadata names for *column*; requests may use any that fits."""
    if column.type == "datetime" and column.reading.counted is not None:
        return "FP64"
    return {"bool": "BOOL", "int": "INT64", "float": "FP64"}.get(column.type, "BYTES")


def label_datatype(contract: Contract) -> str:
    """The V2 datatype of what is predicted."""
    labels = contract.target.labels
    return "FP64" if not labels else "INT64" if isinstance(labels[0], int) else "BYTES"


def tensors_in(contract: Contract) -> list[dict[str, Any]]:
    """V2 metadata of the input tensors."""
    return [{"name": n, "datatype": datatype(c), "shape": [-1]} for n, c in contract.columns.items()]


def tensors_out(contract: Contract) -> list[dict[str, Any]]:
    """V2 metadata of the output tensors."""
    classes = contract.target.classes
    predict = {"name": "predict", "datatype": label_datatype(contract), "shape": [-1]}
    return (
        [predict, {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(classes)]}] if classes else [predict]
    )


def model(contract: Contract, name: str, version_: str) -> dict[str, Any]:
    """V2 metadata of a model; the keys are those of KServe's ``ModelMetadataResponse`` too."""
    return {
        "name": name,
        "versions": [version_],
        "platform": "slipway",
        "inputs": tensors_in(contract),
        "outputs": tensors_out(contract),
    }

"""The OpenAPI document of one model's routes, with its columns as the schema of a row."""

from importlib.metadata import version
from typing import Any

from serving.contract import Column, Contract
from serving.predictor.settings import Settings

OPENAPI = "3.1.0"
SERVER = {"name": "slipway", "version": version("slipway"), "extensions": ["binary_tensor_data"]}
"""V2 metadata of the server."""


def cell_schema(column: Column) -> dict[str, Any]:
    """JSON schema of one value; what is refused is outside of it, what is clipped or flagged is inside."""
    schema: dict[str, Any]
    if column.type == "category":
        schema = {"type": "string"} if column.unknown == "flag" else {"type": "string", "enum": list(column.values)}
    elif column.type == "bool":
        schema = {"type": "boolean"}
    else:
        schema = {"type": "integer" if column.type == "int" else "number"}
        if column.range is not None and column.out_of_range == "refuse":
            schema |= {"minimum": column.range[0], "maximum": column.range[1]}
        else:
            schema |= {"minimum": -1e9, "maximum": 1e9}
    text = " ".join(part for part in (column.description, column.unit and f"in {column.unit}") if part)
    if text:
        schema["description"] = text
    if column.nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema


def document(contract: Contract, settings: Settings) -> dict[str, Any]:
    """Routes of the model that *settings* name, for a client generator or a tester."""
    model = settings.model_name
    row = {
        "type": "object",
        "properties": {name: cell_schema(column) for name, column in contract.columns.items()},
        "required": list(contract.names),
        "additionalProperties": False,
    }
    rows = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.max_rows,
        "items": {"$ref": "#/components/schemas/Row"},
    }
    v1 = {"type": "object", "properties": {"instances": rows}, "required": ["instances"], "additionalProperties": False}
    few = {**v1, "properties": {"instances": {**rows, "maxItems": settings.max_explain_rows}}}
    classes = contract.target.classes
    prediction = {"type": "string", "enum": list(classes)} if classes else {"type": "number"}
    return {
        "openapi": OPENAPI,
        "info": {"title": f"Slipway model {model}", "version": settings.version},
        "paths": {
            f"/v1/models/{model}:predict": {"post": _operation("predict", v1, _ref("Predictions"))},
            f"/v1/models/{model}:explain": {"post": _operation("explain", few, _ref("Explanations"))},
            f"/v2/models/{model}/infer": {"post": _operation("infer", _ref("InferRequest"), _ref("InferResponse"))},
            f"/v1/models/{model}": {"get": _plain("status", "Readiness")},
            f"/v2/models/{model}": {"get": _plain("metadata", "Columns as tensors")},
            f"/v2/models/{model}/ready": {"get": _plain("ready", "Readiness")},
            "/v2/health/live": {"get": _plain("live", "The process answers")},
            "/v2/health/ready": {"get": _plain("server_ready", "Readiness")},
            "/slipway/status": {"get": _plain("slipway_status", "What is served, since when, how fast")},
        },
        "components": {"schemas": {"Row": row, **_answers(prediction, contract), **_v2(contract), "Error": ERROR}},
    }


ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "code", "problems", "request_id"],
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["row", "column", "expected", "seen"],
                "properties": {
                    "row": {"type": ["integer", "null"]},
                    "column": {"type": ["string", "null"]},
                    "expected": {"type": "string"},
                    "seen": {},
                },
            },
        },
    },
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _errors(*codes: str) -> dict[str, Any]:
    return {code: {"description": "see error and problems", "content": _json(_ref("Error"))} for code in codes}


def _operation(name: str, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "requestBody": {"required": True, "content": _json(request)},
        "responses": {
            "200": {"description": "answered", "content": _json(answer)},
            **_errors("400", "408", "413", "415", "429", "501", "503"),
        },
    }


def _plain(name: str, text: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "responses": {"200": {"description": text, "content": _json({"type": "object"})}, **_errors("503")},
    }


def _answers(prediction: dict[str, Any], contract: Contract) -> dict[str, Any]:
    named = {"model_name": {"type": "string"}, "model_version": {"type": "string"}, "request_id": {"type": "string"}}
    list_of_predictions = {"type": "array", "items": prediction}
    answer: dict[str, Any] = {"predictions": list_of_predictions, **named, "flags": {"type": "array"}}
    if contract.target.classes:
        answer["probabilities"] = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    contributions = {"type": "object", "additionalProperties": {"type": "number"}}
    explanation = {
        "type": "object",
        "required": ["score", "base", "contributions"],
        "properties": {"score": {"type": "number"}, "base": {"type": "number"}, "contributions": contributions},
    }
    explained: dict[str, Any] = {"explanations": {"type": "array", "items": explanation}, **named}
    return {
        "Predictions": {"type": "object", "required": ["predictions", *named], "properties": answer},
        "Explanations": {"type": "object", "required": ["explanations", *named], "properties": explained},
    }


def _v2(contract: Contract) -> dict[str, Any]:
    def tensor(name: str, column: Column) -> dict[str, Any]:
        data = {"type": "array", "minItems": 1, "maxItems": 1, "items": cell_schema(column)}
        shape = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"const": 1}}
        properties = {"name": {"const": name}, "shape": shape, "datatype": {"const": datatype(column)}, "data": data}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

    tensors = [tensor(name, column) for name, column in contract.columns.items()]
    inputs = {"type": "array", "prefixItems": tensors, "items": False, "minItems": len(tensors)}
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string", "maxLength": 64}, "inputs": inputs},
        "additionalProperties": False,
    }
    answer = {"type": "object", "required": ["model_name", "model_version", "id", "outputs"]}
    return {"InferRequest": request, "InferResponse": answer}


def datatype(column: Column) -> str:
    """The V2 datatype metadata names for *column*; requests may use any that fits."""
    return {"category": "BYTES", "bool": "BOOL", "int": "INT64", "float": "FP64"}[column.type]


def tensors_in(contract: Contract) -> list[dict[str, Any]]:
    """V2 metadata of the input tensors."""
    return [{"name": n, "datatype": datatype(c), "shape": [-1]} for n, c in contract.columns.items()]


def tensors_out(contract: Contract) -> list[dict[str, Any]]:
    """V2 metadata of the output tensors."""
    classes = contract.target.classes
    predict = {"name": "predict", "datatype": "BYTES" if classes else "FP64", "shape": [-1]}
    return (
        [predict, {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(classes)]}] if classes else [predict]
    )

"""The OpenAPI document of one model's routes, with its columns as the schema of a row.

What JSON Schema cannot say, such as that all tensors of a request have one length, stands in a description; a request
that breaks it is answered 400. Every status and media type that a route can give is named.
"""

from typing import Any

from serving.contract import Column, Contract
from serving.predictor.errors import CODES
from serving.predictor.metadata import datatype, label_datatype, tensors_out
from serving.predictor.rows.schema import Schema, cell_schema
from serving.predictor.rows.tensors import DTYPES
from serving.predictor.rows.v2 import ALIAS, EXPLAINED, INTERVALS, TOP
from serving.predictor.settings import Settings

OPENAPI = "3.1.0"
_BODY = ("400", "405", "408", "413", "415", "429", "503")
_NUMBERS = [name for name in DTYPES if name != "BOOL"]


def document(contract: Contract, settings: Settings) -> dict[str, Any]:
    """Routes of the model that *settings* name, for a client generator or a tester."""
    return {
        "openapi": OPENAPI,
        "info": {"title": f"Slipway model {settings.model_name}", "version": settings.version},
        "paths": {**_predictions(settings), **_readings(settings)},
        "components": {
            "schemas": {**_rows(contract), **_answers(contract), **_v2(contract), **_STATES, "Error": ERROR}
        },
    }


def _predictions(settings: Settings) -> dict[str, Any]:
    model, version_ = settings.model_name, settings.version
    few = settings.max_explain_rows
    infer = {"application/octet-stream": {"schema": _RAW}, **_json(_ref("InferRequest"))}
    raw_too = {"application/octet-stream": {"schema": _RAW}, **_json(_ref("InferResponse"))}
    predict = _operation("predict", _json(_v1(settings.max_rows)), _json(_ref("Predictions")), (*_BODY, "501"))
    explain = _operation("explain", _json(_v1(few)), _json(_ref("Explanations")), (*_BODY, "501"))
    paths = {f"/v1/models/{model}:predict": predict, f"/v1/models/{model}:explain": explain}
    for base, name in ((f"/v2/models/{model}", "infer"), (f"/v2/models/{model}/versions/{version_}", "infer_version")):
        operation = _operation(name, infer, raw_too, (*_BODY, "501"))
        operation["parameters"] = [*operation["parameters"], _JSON_LENGTH]
        paths[f"{base}/infer"] = operation
    return {path: {"post": operation} for path, operation in paths.items()}


def _readings(settings: Settings) -> dict[str, Any]:
    model, version_ = settings.model_name, settings.version
    v2 = f"/v2/models/{model}"
    paths = {
        "/": ("alive", "The process answers", "Alive"),
        "/v2/health/live": ("live", "The process answers", "Live"),
        "/v2": ("server", "This server and its protocol extensions", "Server"),
        "/v1/models": ("models_v1", "Names of the models here", "Models"),
        "/v2/models": ("models_v2", "Names of the models here", "Models"),
        "/slipway/status": ("slipway_status", "What is served, since when, how fast", "Status"),
        "/v2/health/ready": ("server_ready", "Readiness", "ServerReady", "503"),
        f"/v1/models/{model}": ("ready_v1", "Readiness", "Ready", "503"),
        f"{v2}/ready": ("ready_v2", "Readiness", "Ready", "503"),
        f"{v2}/versions/{version_}/ready": ("ready_version", "Readiness", "Ready", "503"),
        v2: ("metadata", "Columns as tensors", "Metadata", "503"),
        f"{v2}/versions/{version_}": ("metadata_version", "Columns as tensors", "Metadata", "503"),
    }
    return {path: {"get": _reading(*what)} for path, what in paths.items()}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object of these properties and no others."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(items: Schema, least: int = 0, most: int | None = None) -> Schema:
    bound = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, "minItems": least, **bound}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTERVAL: Schema = {
    "type": "number",
    "description": "share of truths, in whole percent, that intervals beside the predicted numbers cover",
}
_EXPLAIN: Schema = {"type": "boolean", "description": "whether contributions of columns stand beside the predictions"}
_TOP: Schema = {
    "type": "integer",
    "minimum": 1,
    "description": "how many of the most probable of three or more classes stand beside the predictions",
}
_RAW: Schema = {"type": "string", "format": "binary", "description": "JSON, then the raw tensors it announces"}
_JSON_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "bytes of JSON before the raw tensors; without it all of the body is JSON",
    "schema": {"type": "integer", "minimum": 1},
}
_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "comes back, if it is plain text; else the server makes one",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
_NAMED = {"model_name": _TEXT, "model_version": _TEXT, "request_id": _TEXT}
_ID: Schema = {"type": ["string", "number", "null"]}
_SEEN: Schema = {"type": ["string", "number", "boolean", "null"]}
_PROBLEM = _object(
    {"row": {"type": ["integer", "null"]}, "column": {"type": ["string", "null"]}, "expected": _TEXT, "seen": _SEEN}
)
ERROR = _object({"error": _TEXT, "code": _TEXT, "problems": _list(_PROBLEM), "request_id": _TEXT})
_FLAG = _object(
    {
        "row": {"type": "integer"},
        "column": _TEXT,
        "reason": {"enum": ["clipped", "out_of_range", "unknown_category"]},
        "seen": _SEEN,
    }
)
_TENSOR = _object({"name": _TEXT, "datatype": {"enum": [*DTYPES, "BYTES"]}, "shape": _list({"type": "integer"})})
_YES: Schema = {"const": True}
_STATES: dict[str, Schema] = {
    "Alive": _object({"status": {"const": "alive"}}),
    "Live": _object({"live": _YES}),
    "ServerReady": _object({"ready": _YES}),
    "Ready": _object({"name": _TEXT, "ready": _YES}),
    "Models": _object({"models": _list(_TEXT)}),
    "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "Metadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT),
            "platform": _TEXT,
            "inputs": _list(_TENSOR),
            "outputs": _list(_TENSOR),
        }
    ),
    "Status": {"type": "object", "required": ["model", "version", "ready", "phase", "reason", "digest", "requests"]},
}


def _errors(*codes: str) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for code in codes:
        words = {"properties": {"code": {"enum": [name for name, (status, _) in CODES.items() if str(status) == code]}}}
        answers[code] = {
            "description": "see error and problems",
            "content": _json({"allOf": [_ref("Error"), words]}),
        }
    for code in {"429", "503"} & answers.keys():
        answers[code]["headers"] = {"Retry-After": {"required": True, "schema": {"type": "integer"}}}
    if "405" in answers:
        answers["405"]["headers"] = {
            "Allow": {"required": True, "schema": {"enum": ["GET, HEAD, OPTIONS", "POST, OPTIONS"]}}
        }
    return answers


def _operation(
    name: str, request: dict[str, Any], answer: dict[str, Any], errors: tuple[str, ...] = _BODY
) -> dict[str, Any]:
    return {
        "operationId": name,
        "parameters": [_REQUEST_ID],
        "requestBody": {"required": True, "content": request},
        "responses": {"200": {"description": "answered", "content": answer}, **_errors(*errors)},
    }


def _reading(name: str, text: str, schema: str, *errors: str) -> dict[str, Any]:
    answered = {"200": {"description": text, "content": _json(_ref(schema))}}
    return {"operationId": name, "responses": {**answered, **_errors("405", *errors)}}


def _v1(most: int) -> Schema:
    rows = _list(_ref("AnyRow"), 1, most)
    asked = {"interval": _INTERVAL, "explain": _EXPLAIN, "top": _TOP}
    more: dict[str, Schema] = {"parameters": {"type": "object", "properties": asked}}
    return {"anyOf": [_object({"instances": rows}, more), _object({"inputs": rows}, more)]}


def _rows(contract: Contract) -> dict[str, Schema]:
    cells = {name: cell_schema(column) for name, column in contract.columns.items()}
    values = {"type": "array", "prefixItems": list(cells.values()), "items": False, "minItems": len(cells)}
    values["description"] = f"values in the order {', '.join(contract.names)}"
    wrapped = _list(_ref("Row"), 1, 1)
    optional = {name: cells[name] for name in contract.ids}
    required = {name: schema for name, schema in cells.items() if name not in optional}
    return {"Row": _object(required, optional), "AnyRow": {"anyOf": [_ref("Row"), values, wrapped]}}


def _answers(contract: Contract) -> dict[str, Schema]:
    classes = contract.target.classes
    predictions = _list({"enum": list(contract.target.labels)} if classes else _NUMBER, 1)
    optional: dict[str, Schema] = {"flags": _list(_FLAG, 1)}
    if not classes:
        optional["intervals"] = _list(_list(_NUMBER, 2, 2), 1)
    named = {"predictions": predictions, **_NAMED}
    if contract.ids:
        named["ids"] = _list(_object(dict.fromkeys(contract.ids, _ID)), 1)
    contributions = _object(dict.fromkeys(contract.slots, _NUMBER))
    parts = {"of": _TEXT, "score": _NUMBER, "base": _NUMBER, "contributions": contributions}
    if classes:
        best = _object({"class": {"enum": list(contract.target.labels)}, "probability": _NUMBER})
        optional |= {"top": _list(_list(best, 1, len(classes)), 1)} if len(classes) > 2 else {}
        parts["class"] = {"enum": list(contract.target.labels)}
        named["probabilities"] = _list(_list(_NUMBER, len(classes), len(classes)), 1)
    carried = {"ids": named["ids"]} if contract.ids else {}
    why: dict[str, Schema] = {"explanations": _list(_object(parts), 1), "method": _TEXT}
    explanations = {**carried, **why, "predictions": predictions, **_NAMED}
    optional |= why
    return {"Predictions": _object(named, optional), "Explanations": _object(explanations)}


def _v2(contract: Contract) -> dict[str, Schema]:
    one_row = [_one_row(name, column) for name, column in contract.columns.items()]
    rows = [_tensor(name, column) for name, column in contract.columns.items()]
    width, least = len(rows), len(contract.inputs)
    forms: list[Schema] = [
        {"type": "array", "prefixItems": one_row, "items": False, "minItems": width},
        {
            **_list({"anyOf": rows}, least),
            "maxItems": width,
            "description": "every column once, in any order, all of one length n, shape [n] or [n, 1]; data, or raw "
            "bytes after the JSON and their number in parameters.binary_data_size",
        },
    ]
    if all(column.type in ("float", "int", "bool") for column in contract.columns.values()):
        forms.append(_list(_matrix(width), 1, 1) | {"description": "columns in the order of the metadata"})
    names = [*(tensor["name"] for tensor in _told(contract)), ALIAS, *contract.ids]
    asked = _object({"name": {"enum": names}}, {"parameters": {"type": "object"}})
    optional = {"id": _TEXT, "parameters": {"type": "object"}, "outputs": _list(asked)}
    return {"InferRequest": _object({"inputs": {"anyOf": forms}}, optional), "InferResponse": _infer_response(contract)}


def _told(contract: Contract) -> list[dict[str, Any]]:
    """The output tensors, and those that are there when they are asked for."""
    more = [] if contract.target.classes else [{"name": INTERVALS, "datatype": "FP64", "shape": [-1, 2]}]
    shapes = ([-1, len(contract.slots)], [-1])
    why = [{"name": name, "datatype": "FP64", "shape": shape} for name, shape in zip(EXPLAINED, shapes, strict=True)]
    kinds = (label_datatype(contract), "FP64") if len(contract.target.classes) > 2 else ()
    top = [{"name": name, "datatype": kind, "shape": [-1, -1]} for name, kind in zip(TOP, kinds, strict=False)]
    return [*tensors_out(contract), *more, *why, *top]


def _one_row(name: str, column: Column) -> Schema:
    data = _list(cell_schema(column), 1, 1)
    shape = _list({"const": 1}, 1, 1)
    return _object({"name": {"const": name}, "shape": shape, "datatype": {"const": datatype(column)}, "data": data})


_DATATYPES = {
    "bool": ["BOOL"],
    "category": ["BYTES"],
    "datetime": ["BYTES"],
    "text": ["BYTES"],
    "id": ["BYTES", "INT64"],
}


def _tensor(name: str, column: Column) -> Schema:
    datatypes = _NUMBERS if datatype(column) == "FP64" else _DATATYPES.get(column.type, _NUMBERS)
    shape = _list({"type": "integer", "minimum": 1}, 1, 2)
    required: dict[str, Schema] = {"name": {"const": name}, "shape": shape, "datatype": {"enum": datatypes}}
    return _object(required, {"data": {"type": "array"}, "parameters": {"type": "object"}})


def _matrix(width: int) -> Schema:
    extents = [{"type": "integer", "minimum": 1}, {"const": width}]
    shape = {"type": "array", "prefixItems": extents, "items": False, "minItems": 2}
    required: dict[str, Schema] = {"name": _TEXT, "shape": shape, "datatype": {"enum": _NUMBERS}}
    return _object(required, {"data": {"type": "array"}, "parameters": {"type": "object"}})


def _infer_response(contract: Contract) -> Schema:
    outputs = []
    first, *others = _told(contract)
    for told in (first, {**first, "name": ALIAS}, *others):
        shape = _list({"type": "integer"}, len(told["shape"]), len(told["shape"]))
        required = {"name": {"const": told["name"]}, "shape": shape, "datatype": {"const": told["datatype"]}}
        values = {"type": "string"} if told["datatype"] == "BYTES" else _NUMBER
        size = _object({"binary_data_size": {"type": "integer"}})
        outputs.append(_object(required, {"data": _list(values), "parameters": size}))
    for name in contract.ids:
        shape = _list({"type": "integer"}, 1, 1)
        required = {"name": {"const": name}, "shape": shape, "datatype": {"enum": ["BYTES", "INT64"]}}
        outputs.append(_object(required, {"data": _list(_ID), "parameters": {"type": "object"}}))
    required = {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": _list({"anyOf": outputs}, 1)}
    return _object(required, {"parameters": _object({}, {"flags": _TEXT, "explained": _TEXT})})

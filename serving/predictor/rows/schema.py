"""What one cell of a request may be, as JSON schema."""

from typing import Any

from serving.columns.moments import sample
from serving.contract import Column

Schema = dict[str, Any]


def cell_schema(column: Column) -> Schema:
    """JSON schema of one value; what is refused is outside of it, what is clipped or flagged is inside."""
    schema: Schema
    if column.type == "id":
        schema = {"type": ["string", "number", "null"]}
    elif column.type == "category" and column.closed and column.unknown == "refuse":
        schema = {"type": "string", "enum": list(column.values)}
    elif column.type == "datetime":
        schema = _moment(column)
    elif column.type in ("category", "text"):
        schema = {"type": "string"}
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


def _moment(column: Column) -> Schema:
    """A text of ISO 8601 or in one of the column's formats, or a count."""
    if column.reading.counted is not None:
        return {"type": "number", "minimum": 0, "maximum": 1e9, "description": column.expected}
    forms = {"format": "date-time"} if not column.format else {"enum": [sample(one) for one in column.format]}
    return {"type": "string", **forms}

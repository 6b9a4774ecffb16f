"""Columns and chunks as ``pyarrow`` holds them: their names, the types that they are read as, and their sizes."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import pyarrow as pa

from serving.errors import DataError


def as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """*batch* with its cells of bytes as text; of a column that nobody wants a byte that is no text costs that byte."""
    return pa.RecordBatch.from_arrays([_decoded(column) for column in batch.columns], batch.schema.names)


def _decoded(cells: pa.Array) -> pa.Array:
    try:
        return cells.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([cell.decode("utf-8", "replace") for cell in cells.to_pylist()], pa.string())


def unique(file: str, names: Sequence[str], wanted: Collection[str]) -> Iterator[str]:
    """*names* with those that stand twice, or are empty, told apart by their place; of the *wanted* ones none may."""
    known = set[str]()
    for place, name in enumerate(names, 1):
        if name in known and name in wanted:
            first = names.index(name) + 1
            raise DataError(f"{file}: columns {first} and {place} are both called {name!r}; rename or drop one")
        yield (name := name if name and name not in known else f"{name}#{place}")
        known.add(name)


def held(found: pa.DataType) -> pa.DataType:
    """As which type a column is read: dictionaries and bytes, as which some systems write text, are text."""
    if pa.types.is_dictionary(found):
        return held(found.value_type)
    if pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_large_string(found):
        return pa.string()
    return found


def plain(found: pa.DataType) -> bool:
    """Whether a snapshot holds a column of this type that nobody asked for."""
    bytes_ = pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_fixed_size_binary(found)
    return not (pa.types.is_nested(found) or bytes_)


def rechunked(batches: Iterable[pa.RecordBatch], rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of *batches* in tables of *rows* rows, the last one of fewer."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, rows)
            held, count = table.slice(rows).to_batches(), count - rows
    if count:
        yield pa.Table.from_batches(held, schema)

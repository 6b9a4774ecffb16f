"""Columns and chunks as ``pyarrow`` holds them: their names, the types that they are read as, and their sizes."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import pyarrow as pa

from serving.errors import DataError

_is_fixed = pa.types.is_fixed_size_binary
# Types that cells keep; a dictionary of sixteen bytes or a decimal of 256 bits is none.
_KNOWN = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal128,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
)


def as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """*batch* with its cells of bytes as text, in which a byte that is no text is spelled ``\\xff``."""
    return pa.RecordBatch.from_arrays([_decoded(column) for column in batch.columns], batch.schema.names)


def _decoded(cells: pa.Array) -> pa.Array:
    if isinstance(cells, pa.ExtensionArray):
        cells = cells.storage
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if not _is_bytes(cells.type):
        return cells
    try:
        return cells.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        words = (None if cell is None else cell.decode("utf-8", "backslashreplace") for cell in cells.to_pylist())
        return pa.array(words, pa.string())


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
    """As which type a column is read: dictionaries, bytes and what polars has no type for are text."""
    if pa.types.is_dictionary(found):
        return held(found.value_type)
    if isinstance(found, pa.BaseExtensionType):
        return held(found.storage_type)
    if pa.types.is_float16(found):
        return pa.float32()
    return found if pa.types.is_nested(found) or any(is_such(found) for is_such in _KNOWN) else pa.string()


def plain(found: pa.DataType) -> bool:
    """Whether a snapshot holds a column of this type that nobody asked for."""
    return not (pa.types.is_nested(found) or _is_bytes(found) or isinstance(found, pa.BaseExtensionType))


def _is_bytes(found: pa.DataType) -> bool:
    return any(is_such(found) for is_such in (pa.types.is_binary, pa.types.is_large_binary, _is_fixed))


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

"""One file of a table, in chunks: the one place where bytes become cells.

A cell of a CSV file is the text that stands there, without exception: what it means is the contract's business (see
``meaning.value``). A cell of a parquet file has the type it was written with. What cannot be read is named by file,
line and column.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from components.data.columns import as_text, held, plain, rechunked, unique
from components.data.dialect import HEAD, other, settled
from components.data.files import kind
from serving.contract import Dialect
from serving.errors import DataError

BLOCK = 4 << 20  # bytes of a CSV file that are parsed at once
PAGE_BUFFER = 1 << 20  # bytes; without it a whole column chunk of a row group is held in memory
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
SHOWN = 60  # characters of a cell or row in a message


@dataclass(frozen=True)
class Reader:
    """The rows of the file at *path*, which people know as *name*.

    Attributes:
        stated: how a CSV file is written, as far as the contract says.
        wanted: columns that are needed; no other one can make a file unreadable.
        groups: first and end of the row groups to read of a parquet file; None for all.
    """

    path: Path
    name: str
    stated: Dialect = Dialect()  # noqa: RUF009  # frozen
    wanted: frozenset[str] = frozenset()
    groups: tuple[int, int] | None = None

    @property
    def is_csv(self) -> bool:
        return kind(self.path.name) == "CSV"

    @cached_property
    def dialect(self) -> Dialect:
        """How this CSV file is written."""
        return settled(self.stated, self._head, self.wanted)

    @property
    def by_comma(self) -> bool:
        """Whether numbers have a comma before their decimals."""
        return self.is_csv and self.dialect.decimal == ","

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns of the file, without those that no table of rows can hold; names are unique and without padding.

        What the folders of its path say (``country=de/``), as Hive writes partitions, are columns too.

        Raises:
            DataError: it cannot be read, or two columns have one name that is wanted.
        """
        return tuple(dict.fromkeys((*self._types, *self._folders)))

    @property
    def empty(self) -> bool:
        """Whether there is no row; a CSV file then has a header at most."""
        if self.is_csv:
            with self._told():
                return len(self._head) < HEAD and len(list(islice(filter(None, self._head_rows()), 2))) < 2
        return bool(self.footer().num_rows == 0)

    def footer(self) -> Any:
        """What the end of a parquet file says of its rows, a ``pyarrow.parquet.FileMetaData``."""
        with self._told():
            return pq.read_metadata(self.path)

    def schema(self, columns: Sequence[str]) -> pa.Schema:
        """The types of *columns* in the file, in their order."""
        types = dict.fromkeys(self._folders, pa.string()) | self._types
        return pa.schema([pa.field(name, types[name]) for name in columns])

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Tables of *rows* rows, the last one of fewer, whatever the layout of the file.

        Raises:
            DataError: a row has another number of cells than the header, or a cell is no text of the encoding.
        """
        with self._told():
            own = [name for name in columns if name in self._types] or list(self._types)[:1]
            batches = self._csv(own) if self.is_csv else self._parquet(own, rows)
            for chunk in rechunked(batches, rows, self.schema(own)):
                yield pa.table([self._column(name, chunk) for name in columns], self.schema(columns))

    # what is in the file

    @cached_property
    def _head(self) -> bytes:
        with self._told(), self._bytes() as file:
            head = bytes(file.read(HEAD))
        if what := other(head):
            raise DataError(f"{self.name} is {what} and no CSV file; correct its name, or write it anew as CSV")
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            raise DataError(f"{self.name} is empty: expected a header and rows, got no bytes; is the export complete?")
        return head

    @cached_property
    def _header(self) -> tuple[str, ...]:
        """The names of a CSV file's columns as they are read, the second of two equal ones with its place."""
        found = [name.strip() for row in self._top[-1:] for name in row]
        if any("\0" in name for name in found):
            raise DataError(f"{self.name}: a column's name holds NUL bytes; set contract.csv.encoding, such as utf-16")
        return tuple(unique(self.name, found, self.wanted))

    @cached_property
    def _top(self) -> list[list[str]]:
        """The rows that hold no data: the header, and blank ones before it."""
        with self._told():
            rows = list[list[str]]()
            for row in self._head_rows():
                rows.append(row)
                if row:
                    break
            return rows

    @cached_property
    def _types(self) -> dict[str, pa.DataType]:
        if self.is_csv:
            return dict.fromkeys(self._header, pa.string())
        with self._told():
            fields = list(pq.read_schema(self.path))
        names = unique(self.name, [field.name for field in fields], self.wanted)
        types = {name: field.type for name, field in zip(names, fields, strict=True)}
        return {name: held(found) for name, found in types.items() if name in self.wanted or plain(found)}

    @cached_property
    def _folders(self) -> dict[str, str | None]:
        pairs = (folder.partition("=") for folder in PurePosixPath(self.name).parts[:-1] if "=" in folder)
        return {key: None if value == NO_PARTITION else unquote(value) for key, _, value in pairs if key}

    def _column(self, name: str, chunk: pa.Table) -> Any:
        """The column *name* beside the rows of *chunk*, which holds those that are in the file."""
        if name in self._types:
            return chunk.column(name)
        return pa.repeat(pa.scalar(self._folders[name], pa.string()), len(chunk))

    def _bytes(self) -> Any:
        return gzip.open(self.path) if self.path.name.lower().endswith(".gz") else self.path.open("rb")

    def _lines(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(self._bytes(), self.dialect.encoding, "replace", newline="")

    def _head_rows(self) -> Iterator[list[str]]:
        """Rows as Python's reader sees them in the first bytes of the file."""
        text = self._head.decode(self.dialect.encoding or "utf-8", "ignore").removeprefix("\ufeff")
        yield from self._reader(io.StringIO(text, newline=""))

    def _reader(self, lines: Iterable[str]) -> Any:
        return csv.reader(lines, delimiter=self.dialect.separator or ",", quotechar=self.dialect.quote)

    # its rows

    def _parquet(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path, buffer_size=PAGE_BUFFER) as file:
            groups, wanted = range(*(self.groups or (0, file.num_row_groups))), self.schema(columns)
            for batch in file.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=False):
                yield from pa.Table.from_batches([as_text(batch)]).select(list(columns)).cast(wanted).to_batches()

    def _csv(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        dialect, bad = self.dialect, list[Any]()

        def bad_row(row: Any) -> str:
            bad.append(row)
            return "error"

        read = pa_csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK,
            column_names=list(self._header),
            skip_rows_after_names=len(self._top),
            encoding=(dialect.encoding or "utf8").removesuffix("-sig"),
        )
        parse = pa_csv.ParseOptions(
            delimiter=dialect.separator,
            quote_char=dialect.quote,
            newlines_in_values=True,
            invalid_row_handler=bad_row,
        )
        types = {name: pa.string() if name in self.wanted else pa.binary() for name in self._header}
        convert = pa_csv.ConvertOptions(
            column_types=types,
            include_columns=list(columns),
            strings_can_be_null=False,
        )
        last = None
        try:
            with pa_csv.open_csv(self.path, read, parse, convert) as file:
                for batch in file:
                    yield (last := as_text(batch))
        except pa.ArrowInvalid as error:
            raise self._unreadable(error, bad) from error
        if last is not None:
            self._check_end(last)

    # what is said of a file that cannot be read

    def _unreadable(self, error: Exception, bad: Sequence[Any]) -> DataError:
        if bad and bad[0].text.count(self.dialect.quote) % 2:
            return self._open_quote(bad[0].text.rpartition(self.dialect.quote)[2])
        if bad:
            row = bad[0]
            return DataError(
                f"{self.name}, line {self._line(row.number)}: expected {row.expected_columns} cells as in the header, "
                f"seen {row.actual_columns}: {row.text[:SHOWN]!r}; a cell that holds the separator "
                f"{self.dialect.separator!r} must stand in quotes, or set contract.csv.separator"
            )
        if "straddling" in str(error):
            return DataError(
                f"{self.name}: a row of over {BLOCK >> 20} MB, as where a quote {self.dialect.quote} is opened and "
                "never closed; close it, or set contract.csv.quote"
            )
        place = re.search(r"In CSV column #(\d+): Row #(\d+)", str(error))
        if place is None:
            return DataError(f"{self.name} cannot be read as CSV: {_first_line(error)}; write it anew")
        column, line = self._header[int(place[1])], self._line(int(place[2]))
        return DataError(
            f"{self.name}, line {line}, column {column!r}: bytes that are no {self.dialect.encoding} text; set "
            "contract.csv.encoding to what the file was written in, such as cp1252"
        )

    def _line(self, number: int) -> int:
        """The line of the row *number*, the header being 1: blank lines and line ends in cells count."""
        with self._lines() as lines:
            reader, seen = self._reader(lines), 0
            for row in reader:
                seen += bool(row)
                if seen == number:
                    break
            return int(reader.line_num)

    def _check_end(self, last: pa.RecordBatch) -> None:
        """Refuse a file whose last cell goes over several lines because its quote is never closed."""
        cells = [str(column[-1].as_py()) for column in last.columns if last.num_rows]
        long = [cell for cell in cells if "\n" in cell]
        if not long:
            return
        with self._lines() as lines:
            marks = sum(line.count(self.dialect.quote) for line in lines)
        if marks % 2:
            raise self._open_quote(long[0])

    def _open_quote(self, cell: str) -> DataError:
        return DataError(
            f"{self.name}: a quote {self.dialect.quote} is opened and never closed, so that a cell holds all lines "
            f"from {cell[:SHOWN]!r} on; close it, or set contract.csv.quote"
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, gzip.BadGzipFile, EOFError, OSError, UnicodeError, csv.Error) as error:
            form = kind(self.path.name)
            raise DataError(
                f"{self.name} cannot be read as {form}: {_first_line(error)}; write it anew, or correct its name"
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__

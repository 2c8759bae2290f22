"""Apache Parquet, for every query engine; the unpacked size of its pages is checked first."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from pydamon._data.formats.content import PUT_TOGETHER, Content, check_ratio
from pydamon._data.formats.output import Holds
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import info_from_rows
from pydamon._data.recording.schema import (
    COLUMNS,
    EXTRA,
    RecordingInfo,
    file_schema,
    info_in_schema,
)

if TYPE_CHECKING:
    from pyarrow import parquet

__all__ = ["Parquet"]

_ROW_GROUP_ROWS = 2**17
_LEVEL = 5
_MAGIC = b"PAR1"
"""How a file begins, and how it ends."""
_MANY_GROUPS = 2**10
_LEAST_GROUP_ROWS = 2**10
_NAME_COLUMNS = [field.name for field in (*COLUMNS, EXTRA) if pa.types.is_dictionary(field.type)]
_KNOWN = frozenset({*COLUMNS.names, EXTRA.name})
_SCATTERED = ("start_ns", "end_ns", "start", "end", "cpu_ns", "interruption_ns")
"""Columns in which neighbouring numbers are close: differences take less space."""


class Parquet:
    """Parquet with the columns of every recording, and its description in the metadata."""

    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        return head.startswith(_MAGIC)

    def open(self, content: Content) -> _ParquetReader:
        if content.compression:
            raise ValueError("unpack it first: it is compressed inside")
        return _ParquetReader(content.path)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        writer: parquet.ParquetWriter | None = None
        try:
            for chunk in chunks:
                if writer is None:
                    writer = _writer(file, file_schema(info, chunk.table.column_names))
                writer.write_table(chunk.table, row_group_size=_ROW_GROUP_ROWS)
            if writer is None:
                writer = _writer(file, file_schema(info))
        finally:
            # A writer that is left open writes to the file later, when that is closed.
            if writer is not None:
                writer.close()


def _writer(file: BinaryIO, schema: pa.Schema) -> parquet.ParquetWriter:
    from pyarrow import parquet  # noqa: PLC0415  (slow to import)

    return parquet.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=[name for name in schema.names if name not in _SCATTERED],
        column_encoding=dict.fromkeys(_SCATTERED, "DELTA_BINARY_PACKED"),
    )


class _ParquetReader:
    ordered = True

    def __init__(self, path: Path) -> None:
        self._path = path
        file = self._open()
        _check_is_one_file(path, file.metadata)
        _check_groups(file.metadata)
        schema = file.schema_arrow
        described = info_in_schema(schema)
        self._names = [name for name in schema.names if name in _KNOWN]
        self._pages = _PageCheck(path, self._names)
        self.info = described or info_from_rows(next(self.batches(), None))

    def batches(self) -> Iterator[pa.RecordBatch]:
        file = self._open()
        for number in range(file.metadata.num_row_groups):
            self._pages.check(number, file.metadata.row_group(number))
            yield from file.iter_batches(
                batch_size=_ROW_GROUP_ROWS,
                row_groups=[number],
                columns=self._names,
                use_threads=False,
            )

    def _open(self) -> parquet.ParquetFile:
        from pyarrow import parquet  # noqa: PLC0415  (slow to import)

        metadata = parquet.read_metadata(self._path)
        names = [name for name in _NAME_COLUMNS if name in metadata.schema.names]
        return parquet.ParquetFile(self._path, metadata=metadata, read_dictionary=names)


def _check_is_one_file(path: Path, metadata: parquet.FileMetaData) -> None:
    """Raise `ValueError` if one file follows another: only the last would be read."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    ends = [_begin(column) + column.total_compressed_size for column in columns]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        footer = len(data) - len(_MAGIC) - 4 - metadata.serialized_size
        if max(ends, default=len(_MAGIC)) < footer and data.find(2 * _MAGIC, 0, footer) >= 0:
            raise ValueError(f"there are two files in it: {PUT_TOGETHER}")


def _check_groups(metadata: parquet.FileMetaData) -> None:
    """Raise `ValueError` for many groups of hardly any rows, which take minutes to read."""
    count = metadata.num_row_groups
    if count > _MANY_GROUPS and metadata.num_rows < count * _LEAST_GROUP_ROWS:
        raise ValueError(
            f"it has {count:,} row groups of {metadata.num_rows / count:.3g} rows in the mean: "
            "write it with larger ones"
        )


def _begin(column: parquet.ColumnChunkMetaData) -> int:
    """Where the pages of a column begin."""
    if column.has_dictionary_page and column.dictionary_page_offset:
        return int(min(column.dictionary_page_offset, column.data_page_offset))
    return int(column.data_page_offset)


_MAX_HEADER_BYTES = 2**16
"""Of a page, in which the least and the largest value may stand."""
_MAX_PAGES_BYTES = 2**27
"""Of the pages that are unpacked at once: one a column."""
_MAX_RATIO = 5000
_ANY_BYTES = 2**15
_ROW_BYTES = 130
_DICTIONARY_PAGE = 2
_SIMPLE_ENCODINGS = frozenset({0, 2, 3, 5, 8})
"""PLAIN, PLAIN_DICTIONARY, RLE, DELTA_BINARY_PACKED, RLE_DICTIONARY: no value is longer than the
page has it. DELTA_BYTE_ARRAY makes 100,000 long names of one."""
_NONSENSE = "a page of it makes no sense"
_MAX_DEPTH = 8


class _PageCheck:
    """Checks row groups of the file *path*, of which only the *wanted* columns are read."""

    def __init__(self, path: Path, wanted: Collection[str]) -> None:
        self._path = path
        self._wanted = wanted
        self._size_bytes = path.stat().st_size
        self._row_count = 0
        self._checked = 0

    def check(self, number: int, group: parquet.RowGroupMetaData) -> None:
        """Raise `ValueError` if reading a group would take more than its size lets expect.

        Groups come in order; one that was checked before is not looked at again.
        """
        if number < self._checked:
            return
        self._row_count += group.num_rows
        check_ratio(self._row_count * _ROW_BYTES, self._size_bytes + _ANY_BYTES, _MAX_RATIO)
        at_once_bytes = 0
        with self._path.open("rb") as file:
            for index in range(group.num_columns):
                column = group.column(index)
                if column.path_in_schema in self._wanted:
                    at_once_bytes += _largest_page(file, column)
        if at_once_bytes > _MAX_PAGES_BYTES:
            raise ValueError("a page of it unpacks to more than any should")
        self._checked = number + 1


def _largest_page(file: BinaryIO, column: parquet.ColumnChunkMetaData) -> int:
    """Bytes that the largest page of a column unpacks to; raises `ValueError` for nonsense."""
    at = _begin(column)
    end = at + column.total_compressed_size
    values = largest = 0
    while at < end and values < column.num_values:
        file.seek(at)
        parser = _CompactProtocol(file.read(min(_MAX_HEADER_BYTES, end - at)))
        header = parser.struct()
        unpacked_bytes, packed_bytes = _size(header.get(2)), _size(header.get(3))
        is_dictionary = header.get(1) == _DICTIONARY_PAGE
        details = header.get(7 if is_dictionary else 5) or header.get(8)
        if not isinstance(details, dict):
            raise ValueError(_NONSENSE)
        count = _size(details.get(1))
        if not is_dictionary:
            values += count
            if details.get(2 if 5 in header else 4, 0) not in _SIMPLE_ENCODINGS:
                raise ValueError(f"the encoding of {column.path_in_schema} is not read")
        elif count > unpacked_bytes:  # Arrow takes memory for so many
            raise ValueError(_NONSENSE)
        largest = max(largest, unpacked_bytes)
        at += parser.at + packed_bytes
    return largest


def _size(value: Any) -> int:
    if type(value) is int and value >= 0:
        return value
    raise ValueError(_NONSENSE)


class _CompactProtocol:
    """A parser of Thrift's compact protocol; raises `ValueError` if bytes make no sense."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by number: integers, truth values and structs; else `None`."""
        if depth > _MAX_DEPTH:
            raise ValueError(_NONSENSE)
        values: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            values[number] = self._value(head & 15, depth)
        return values

    def _value(self, kind: int, depth: int) -> Any:
        if kind == 12:
            return self.struct(depth + 1)
        if kind in (9, 10):
            return self._list(depth)
        read = _SCALARS.get(kind)
        if read is None:
            raise ValueError(_NONSENSE)
        return read(self)

    def _list(self, depth: int) -> None:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        for _ in range(min(count, len(self._data))):
            self._value(head & 15, depth + 1)

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("the head of a page is cut off, or too large")
        self.at += 1
        return self._data[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError(_NONSENSE)

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


_SCALARS: dict[int, Callable[[_CompactProtocol], Any]] = {
    1: lambda _: True,
    2: lambda _: False,
    3: _CompactProtocol._byte,
    4: _CompactProtocol._zigzag,
    5: _CompactProtocol._zigzag,
    6: _CompactProtocol._zigzag,
    7: lambda parser: parser._skip(8),
    8: lambda parser: parser._skip(parser._varint()),
}
"""How to read each kind of value that is neither a list nor a struct."""

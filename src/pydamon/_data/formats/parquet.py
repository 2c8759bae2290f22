"""Apache Parquet, for every query engine; what its pages unpack to is checked first."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from pydamon._data.formats.content import PUT_TOGETHER, Content, check_ratio
from pydamon._data.formats.holds import Holds
from pydamon._data.recording.arrays import info_by_rows
from pydamon._data.recording.format import COLUMNS, EXTRA, RecordingInfo, file_schema, info_of
from pydamon._data.recording.recording import Recording

if TYPE_CHECKING:
    from pyarrow import parquet

__all__ = ["PageCheck", "Parquet"]

_MOST_HEADER = 2**16
"""Bytes of the header of a page, in which the least and the largest value may stand."""
_MOST_PAGES = 2**27
"""Bytes of the pages that are unpacked at once: one a column."""
_MOST_RATIO = 5000
_ANY_BYTES = 2**15
_ROW_BYTES = 130
_DICTIONARY_PAGE = 2
_SIMPLE_ENCODINGS = frozenset({0, 2, 3, 5, 8})
"""PLAIN, PLAIN_DICTIONARY, RLE, DELTA_BINARY_PACKED, RLE_DICTIONARY: no value is longer than the
page has it. DELTA_BYTE_ARRAY makes 100,000 long names of one."""
_NONSENSE = "a page of it makes no sense"
_DEEPEST = 8


class PageCheck:
    """Checks row groups of the file *path*, of whose columns only those *wanted* are read."""

    def __init__(self, path: Path, wanted: Collection[str]) -> None:
        self._path = path
        self._wanted = wanted
        self._size_bytes = path.stat().st_size
        self._row_count = 0
        self._checked = 0

    def check(self, number: int, group: parquet.RowGroupMetaData) -> None:
        """Raise `ValueError` where reading it would take more than its size lets expect.

        Row groups come in order; one that was checked before is not looked at again.
        """
        if number < self._checked:
            return
        self._row_count += group.num_rows
        check_ratio(self._row_count * _ROW_BYTES, self._size_bytes + _ANY_BYTES, _MOST_RATIO)
        at_once = 0
        with self._path.open("rb") as file:
            for index in range(group.num_columns):
                column = group.column(index)
                if column.path_in_schema in self._wanted:
                    at_once += self._largest_page(file, column)
        if at_once > _MOST_PAGES:
            raise ValueError("a page of it unpacks to more than any should")
        self._checked = number + 1

    def _largest_page(self, file: BinaryIO, column: parquet.ColumnChunkMetaData) -> int:
        begins = [column.data_page_offset]
        if column.has_dictionary_page and column.dictionary_page_offset:
            begins.append(column.dictionary_page_offset)
        at = min(begins)
        end = at + column.total_compressed_size
        values = largest = 0
        while at < end and values < column.num_values:
            file.seek(at)
            reader = _Compact(file.read(min(_MOST_HEADER, end - at)))
            header = reader.struct()
            unpacked, packed = _size(header.get(2)), _size(header.get(3))
            is_dictionary = header.get(1) == _DICTIONARY_PAGE
            details = header.get(7 if is_dictionary else 5) or header.get(8)
            if not isinstance(details, dict):
                raise ValueError(_NONSENSE)
            count = _size(details.get(1))
            if is_dictionary:
                if count > unpacked:  # Arrow takes memory for so many
                    raise ValueError(_NONSENSE)
            else:
                values += count
                if details.get(2 if 5 in header else 4, 0) not in _SIMPLE_ENCODINGS:
                    raise ValueError(f"the encoding of {column.path_in_schema} is not read")
            largest = max(largest, unpacked)
            at += reader.at + packed
        return largest


def _size(value: Any) -> int:
    if type(value) is int and value >= 0:
        return value
    raise ValueError(_NONSENSE)


class _Compact:
    """A parser of Thrift's compact protocol; raises `ValueError` where bytes make no sense."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Its fields by number: integers, truth values and structs; of others, `None`."""
        if depth > _DEEPEST:
            raise ValueError(_NONSENSE)
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            found[number] = self._value(head & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._varint())
        if kind in (9, 10):
            head = self._byte()
            count = self._varint() if head >> 4 == 15 else head >> 4
            for _ in range(min(count, len(self._data))):
                self._value(head & 15, depth + 1)
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(_NONSENSE)

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


_ROW_GROUP_ROWS = 2**17
_LEVEL = 5
_MAGIC = b"PAR1"
"""How a file begins, and how it ends."""
_MANY_GROUPS = 2**10
_LEAST_GROUP_ROWS = 2**10
_NAMES = [field.name for field in (*COLUMNS, EXTRA) if pa.types.is_dictionary(field.type)]
_KNOWN = frozenset({*COLUMNS.names, EXTRA.name})
_SCATTERED = ("start_ns", "end_ns", "start", "end", "cpu_ns", "interruption_ns")
"""Columns of numbers that lie close to those before them: differences take less space."""


class Parquet:
    """Parquet with the columns of every recording, and its description in the metadata."""

    name = "parquet"
    suffixes: tuple[str, ...] = (".parquet", ".pq")
    is_text = False
    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        return head.startswith(_MAGIC)

    def open(self, content: Content) -> _ParquetFile:
        if content.compression:
            raise ValueError("unpack it first: it is compressed inside")
        return _ParquetFile(content.path)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        writer: parquet.ParquetWriter | None = None
        for part in parts:
            if writer is None:
                writer = self._writer(file, file_schema(info, part.table.column_names))
            writer.write_table(part.table, row_group_size=_ROW_GROUP_ROWS)
        if writer is None:
            writer = self._writer(file, file_schema(info))
        writer.close()

    def _writer(self, file: BinaryIO, schema: pa.Schema) -> parquet.ParquetWriter:
        from pyarrow import parquet  # noqa: PLC0415

        return parquet.ParquetWriter(
            file,
            schema,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=[name for name in schema.names if name not in _SCATTERED],
            column_encoding=dict.fromkeys(_SCATTERED, "DELTA_BINARY_PACKED"),
        )


def _check_groups(metadata: parquet.FileMetaData) -> None:
    """Raise `ValueError` for a great many groups of hardly any rows, which take minutes to read."""
    count = metadata.num_row_groups
    if count > _MANY_GROUPS and metadata.num_rows < count * _LEAST_GROUP_ROWS:
        raise ValueError(
            f"it has {count:,} row groups of {metadata.num_rows / count:.3g} rows in the mean: "
            "write it with larger ones"
        )


class _ParquetFile:
    ordered = True

    def __init__(self, path: Path) -> None:
        self._path = path
        file = self._open()
        _check_is_one(path, file.metadata)
        _check_groups(file.metadata)
        schema = file.schema_arrow
        described = info_of(schema)
        self._names = [name for name in schema.names if name in _KNOWN]
        self._pages = PageCheck(path, self._names)
        self.info = described or info_by_rows(next(self.batches(), None))

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
        from pyarrow import parquet  # noqa: PLC0415

        metadata = parquet.read_metadata(self._path)
        names = [name for name in _NAMES if name in metadata.schema.names]
        return parquet.ParquetFile(self._path, metadata=metadata, read_dictionary=names)


def _check_is_one(path: Path, metadata: parquet.FileMetaData) -> None:
    """Raise `ValueError` where one file follows another: only the last one would be read."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    ends = [_begin(column) + column.total_compressed_size for column in columns]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        footer = len(data) - len(_MAGIC) - 4 - metadata.serialized_size
        if max(ends, default=len(_MAGIC)) < footer and data.find(2 * _MAGIC, 0, footer) >= 0:
            raise ValueError(f"there are two files in it: {PUT_TOGETHER}")


def _begin(column: parquet.ColumnChunkMetaData) -> int:
    if column.has_dictionary_page and column.dictionary_page_offset:
        return int(min(column.dictionary_page_offset, column.data_page_offset))
    return int(column.data_page_offset)

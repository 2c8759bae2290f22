"""Apache Parquet, for every query engine."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from pydamon.recording.arrays import info_by_rows
from pydamon.recording.format import COLUMNS, EXTRA, RecordingInfo, file_schema, info_of
from pydamon.recording.formats.content import PUT_TOGETHER, Content
from pydamon.recording.formats.holds import Holds
from pydamon.recording.formats.parquet_pages import PageCheck
from pydamon.recording.recording import Recording

if TYPE_CHECKING:
    from pyarrow import parquet

__all__ = ["Parquet"]

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

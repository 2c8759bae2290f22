"""Small files that unpack, add up or multiply to much, each of another kind."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from pydamon._data.recording.arrow import constant_array, dictionary_array
from pydamon._data.recording.rows import batch_of
from pydamon._data.recording.schema import file_schema
from tests.recordings import info

__all__ = ["bombs"]

_MIB = 2**20
_RECORD = b'[{"target_id":0,"snapshots":['
_SNAPSHOT = b'{"start_time":"1","end_time":"2","regions":['
_REGION = b'{"start":"0","end":"4096"},'
_LINE = b"kdamond.0 1 [000] %d.0: damon:damon_aggregated: target_id=%d nr_regions=1 0-4096: 1 1%s\n"


def bombs() -> dict[str, Callable[[], bytes]]:
    """How to make each; the first ones are of different kinds, for those who try a few."""
    return {
        "a snapshot in zlib": lambda: _deflated(_RECORD, _REGION, 100 * _MIB),
        "more rows than any": lambda: _arrow([_rows(2**23)]),
        "a name in zstd": lambda: _arrow([_with_name(200 * _MIB)]),
        "a name in Parquet": lambda: _parquet(_with_name(300 * _MIB)),
        "columns in CSV": lambda: _csv_columns(200_000),
        "targets in JSON": lambda: _json_targets(100_000),
        "targets in perf": lambda: b"".join(_LINE % (n, n, b"") for n in range(100_000)),
        "empty records in zlib": lambda: _empty_records(8_000),
        **_of_json(),
        **_of_tables(),
        **_of_arrow(),
        **_of_text(),
    }


def _of_json() -> dict[str, Callable[[], bytes]]:
    return {
        "blanks in zlib": lambda: _deflated(b"[", b" ", 100 * _MIB),
        "a head in zlib": lambda: _deflated(b'[{"a":"', b"x", 100 * _MIB),
        "regions in zlib": lambda: _deflated(_RECORD + _SNAPSHOT, _REGION, 100 * _MIB),
        "snapshots in zlib": lambda: _deflated(
            _RECORD, _SNAPSHOT + b'{"start":"0","end":"9"}]},', 20 * _MIB
        ),
        "records in zlib": lambda: _deflated(
            b"[", b'{"snapshots":[' + _SNAPSHOT + b'{"start":"0","end":"9"}]}]},', 20 * _MIB
        ),
        "many empty records": lambda: _empty_records(1_000_000),
        "brackets in zlib": lambda: _deflated(_RECORD, b"[", 100 * _MIB),
        "braces in zlib": lambda: _deflated(_RECORD, b"{}]", 100 * _MIB),
        "braces in a snapshot": lambda: _deflated(
            _RECORD + _SNAPSHOT + b'],"damos_stats":[', b"{},", 100 * _MIB
        ),
        "large heads": lambda: _large_heads(60_000, 8_000),
        "statistics in zlib": lambda: _deflated(
            _RECORD + _SNAPSHOT + b'{"start":"0","end":"9"}],"damos_stats":"', b"x", 100 * _MIB
        ),
        "nested lists": lambda: b"[" * 10**6,
        "nested lists to their end": lambda: b"[" * 200_000 + b"]" * 200_000,
        "nested objects": lambda: _RECORD + b'{"a":' * 10**6,
        "nested statistics": lambda: (
            _RECORD + _SNAPSHOT + _REGION[:-1] + b'],"damos_stats":' + b"[" * 10**6
        ),
        "a number without end": lambda: _RECORD + _SNAPSHOT + b'{"start":' + b"9" * 10**6,
        "a text number without end": lambda: (
            _RECORD + _SNAPSHOT + b'{"start":"' + b"9" * 10**6 + b'","end":"9"}]}]}]'
        ),
        "overlapping regions": lambda: _json_of([(0, 8192), (4096, 12288)]),
        "regions backwards": lambda: _json_of([(8192, 12288), (0, 4096)]),
        "regions backwards in a scheme": lambda: _json_of(
            [(8192 * (9999 - n), 8192 * (9999 - n) + 4096) for n in range(9999)], None
        ),
        "a region of negative size": lambda: _json_of([(8192, 4096)]),
        "a region beyond all memory": lambda: _json_of([(0, 2**63 - 1)]),
        "a scheme": lambda: (
            b'[{"action":"pageout","access_pattern":{"sz_bytes":{"min":Infinity}}}]'
        ),
    }


def _of_tables() -> dict[str, Callable[[], bytes]]:
    row = json.dumps(_row()).encode()
    return {
        "nested in NDJSON": lambda: (
            b'{"pydamon":' + b'{"a":' * 10**5 + b"1" + b"}" * 10**5 + b"}\n"
        ),
        "lists in NDJSON": lambda: b'{"start_ns":' + b"[" * 10**5 + b"]" * 10**5 + b"}\n",
        "nested behind a row in NDJSON": lambda: (
            row + b"\n" + b'{"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}\n"
        ),
        "keys in NDJSON": lambda: (
            row[:-1] + b"".join(b',"k%d":1' % n for n in range(200_000)) + b"}\n"
        ),
        "keys in rows of NDJSON": lambda: b"".join(
            row[:-1] + b',"k%d":1}\n' % n for n in range(50_000)
        ),
        "targets in NDJSON": lambda: b"".join(
            json.dumps(
                _row() | {"pid": n, "target": f"t{n}", "start_ns": n, "end_ns": n + 1}
            ).encode()
            + b"\n"
            for n in range(100_000)
        ),
        "a line without end in NDJSON": lambda: row[:-1] + b',"x":"' + b"x" * 20 * _MIB,
        "a line without end": lambda: b"start_ns,end_ns," + b"x" * 20 * _MIB,
        "a quote without end": lambda: _csv() + b'"' + b"x" * 20 * _MIB,
        "a row without end": lambda: _csv() + b"1," * 10 * _MIB,
        "blank lines in CSV": lambda: b"\n" * 20 * _MIB + _csv(),
        "comments": lambda: b"#\n" * 10 * _MIB,
        "a comment without end": lambda: b"#" * 20 * _MIB,
    }


def _of_arrow() -> dict[str, Callable[[], bytes]]:
    return {
        "rows in zstd": lambda: _arrow([_rows(2**22)]),
        "batches of rows in zstd": lambda: _arrow([_rows(2**18)] * 12),
        "many batches in zstd": lambda: _arrow([_rows(2**18)] * 200),
        "batches of a row": lambda: _arrow([_rows(1)] * 5_000),
        "empty batches": lambda: _arrow([_rows(0)] * 20_000),
        "names that add up": lambda: _growing_names(40, 20 * _MIB),
        "columns in Arrow": lambda: _arrow_columns(20_000),
        "targets in Arrow": lambda: _arrow([_targets(100_000)]),
        "rows in Parquet": lambda: _parquet(_rows(2**22)),
        "a row group in Parquet": lambda: _parquet(_rows(2**22), 2**22),
        "a name that others begin with": lambda: _parquet(
            _with_names(["x" * 20_000_000 + str(n) for n in range(5)]),
            use_dictionary=False,
            column_encoding={"mapping": "DELTA_BYTE_ARRAY"},
        ),
        "columns in Parquet": lambda: _parquet_columns(10_000),
        "row groups in Parquet": lambda: _parquet(_rows(3_000), 1),
    }


def _of_text() -> dict[str, Callable[[], bytes]]:
    return {
        "snapshots without end in perf": lambda: (
            b"kdamond.0 1 [000] 1.0: damon:damon_aggregated: target_id=0 nr_regions=999999999 "
            b"0-4096: 1 1\n" * 10**5
        ),
        "words in perf": lambda: b"".join(
            _LINE % (n, 0, b" probe_hits=%d" % n) for n in range(200_000)
        ),
        "blanks in perf": lambda: _LINE % (1, 0, b"") + b" " * 4_000_000 + b"damon_aggregated:\n",
        "blanks behind a word in perf": lambda: (
            _LINE % (1, 0, b"") + b"k" + b" " * 4_000_000 + b"damon_aggregated:\n"
        ),
        "digits in perf": lambda: _LINE % (1, 0, b"") + b"k " + b"1" * 4_000_000 + b"\n",
        "fields in perf": lambda: _LINE % (1, 0, b" a=" + b" " * 4_000_000 + b"x") + b"\n",
        "other events": lambda: b"kdamond.0 1 [000] 1.000000: sched:sched_switch: a\n" * 10**5,
        "blanks in gzip": lambda: gzip.compress(b" " * 100 * _MIB, 6),
        "JSON in gzip": lambda: gzip.compress(_RECORD + _SNAPSHOT + _REGION * 4 * _MIB, 6),
        "rows in zstd in zstd": lambda: _zstd(_arrow([_rows(2**18)] * 12)),
        "blanks in zstd": lambda: _zstd(b"[" + b" " * 400 * _MIB),
        "lines in zstd": lambda: _zstd(_LINE % (1, 0, b"") + b"k 1 [0] 1.0: x:y: z\n" * 20 * _MIB),
        "UTF-16 without end": lambda: b"\xff\xfe" + b"[\0" * 10 * _MIB,
        "half a letter of UTF-16": lambda: b"\xff\xfe[",
        "UTF-32": lambda: "[{}]".encode("utf-32"),
        "no UTF-16": lambda: b"\xff\xfe\0\xd8\0\xd8",
    }


def _deflated(head: bytes, filling: bytes, size: int) -> bytes:
    deflater = zlib.compressobj(6)
    block = filling * (_MIB // len(filling))
    chunks = [deflater.compress(head)]
    chunks += [deflater.compress(block) for _ in range(size // len(block))]
    return b"".join([*chunks, deflater.flush()])


def _zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)  # type: ignore[no-any-return]


def _empty_records(count: int) -> bytes:
    record = b'{"target_id":%d,"snapshots":[]}'
    return zlib.compress(b"[" + b",".join(record % n for n in range(count)) + b"]")


def _large_heads(head_bytes: int, regions: int) -> bytes:
    """Each region has something to say, with all of the head beside it."""
    region = b'{"start":"%d","end":"%d","sz_filter_passed":"%d"}'
    some = b",".join(region % (n * 4096, n * 4096 + 4096, n + 1) for n in range(regions))
    head = b'[{"target_id":0,"x":"' + b"x" * head_bytes + b'","snapshots":['
    return zlib.compress(head + _SNAPSHOT + some + b"]}]}]")


def _json_targets(count: int) -> bytes:
    record = b'{"target_id":%d,"snapshots":[' + _SNAPSHOT + b'{"start":"0","end":"9"}]}]}'
    return b"[" + b",".join(record % n for n in range(count)) + b"]"


def _json_of(regions: list[tuple[int, int]], target_id: int | None = 0) -> bytes:
    counted = [
        {
            "start": str(start),
            "end": str(end),
            "nr_accesses": {"samples": 1, "percent": None},
            "age": {"usec": None, "aggr_intervals": "0"},
        }
        for start, end in regions
    ]
    taken = {"start_time": "1", "end_time": "2", "regions": counted}
    return json.dumps([{"target_id": target_id, "snapshots": [taken]}]).encode()


def _row() -> dict[str, object]:
    """A region that is sound."""
    (row,) = pa.Table.from_batches([_rows(1)]).to_pylist()
    return dict(row)


def _csv() -> bytes:
    row = _row()
    return ",".join(row).encode() + b"\n" + ",".join(map(str, row.values())).encode() + b"\n"


def _csv_columns(count: int) -> bytes:
    header, row = _csv().splitlines()
    more = b"".join(b",c%d" % n for n in range(count))
    return header + more + b"\n" + row + b",1" * count + b"\n"


def _rows(count: int) -> pa.RecordBatch:
    """Rows that are sound, but for being as alike as can be."""
    start_ns = np.arange(count)
    ones = np.ones(count, np.int64)
    columns = {"start_ns": start_ns, "end_ns": start_ns + 1, "end": ones, "max_nr_accesses": ones}
    columns["age"] = np.zeros(count, np.int64)
    return batch_of({**columns, "host": constant_array("", count)}, count)


def _targets(count: int) -> pa.RecordBatch:
    batch = _rows(count)
    names = dictionary_array(np.arange(count, dtype=np.int32), [f"t{n}" for n in range(count)])
    return _replaced(_replaced(batch, "target", names), "pid", pa.array(range(count), pa.int32()))


def _replaced(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    index = batch.schema.get_field_index(name)
    return batch.set_column(index, pa.field(name, values.type, nullable=False), values)


def _with_names(names: list[str]) -> pa.RecordBatch:
    codes = np.arange(len(names), dtype=np.int32)
    return _replaced(_rows(len(names)), "mapping", dictionary_array(codes, names))


def _with_name(size: int) -> pa.RecordBatch:
    words = pa.array(["x" * size])
    codes = pa.array(np.zeros(10, np.int32))
    return _replaced(_rows(10), "mapping", pa.DictionaryArray.from_arrays(codes, words))


def _arrow(batches: Iterable[pa.RecordBatch], **options: bool) -> bytes:
    schema = file_schema(info())
    out = io.BytesIO()
    with pa.ipc.new_stream(
        out, schema, options=pa.ipc.IpcWriteOptions(compression="zstd", **options)
    ) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
    return out.getvalue()


def _growing_names(count: int, size: int) -> bytes:
    def batches() -> Iterator[pa.RecordBatch]:
        names: list[str] = []
        for number in range(count):
            names.append("x" * size + str(number))
            words = pa.array(names)
            codes = pa.array([number], pa.int32())
            yield _replaced(_rows(1), "mapping", pa.DictionaryArray.from_arrays(codes, words))

    return _arrow(batches(), emit_dictionary_deltas=True)


def _wide(count: int) -> pa.Table:
    table = pa.Table.from_batches([_rows(1)]).cast(file_schema(info()))
    names = [*table.column_names, *(f"c{n}" for n in range(count))]
    columns = [*table.columns, *[pa.chunked_array([pa.array([1])])] * count]
    return pa.table(columns, names).replace_schema_metadata(table.schema.metadata)


def _arrow_columns(count: int) -> bytes:
    table = _wide(count)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _parquet_columns(count: int) -> bytes:
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(_wide(count), out)
    return out.getvalue()


def _parquet(batch: pa.RecordBatch, row_group_rows: int = 2**18, **options: object) -> bytes:
    from pyarrow import parquet

    out = io.BytesIO()
    table = pa.Table.from_batches([batch]).cast(file_schema(info()))
    parquet.write_table(table, out, compression="zstd", row_group_size=row_group_rows, **options)
    return out.getvalue()

"""Reading a recording back, whole or as far as it got."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.errors import RecordingError
from pydamon.recording.format import COLUMNS, METADATA_KEY, SCHEMA_VERSION, RecordingInfo
from pydamon.recording.recording import Recording, numbers, single

__all__ = ["read_recording"]

_MESSAGE_MARK = b"\xff\xff\xff\xff"
_END = _MESSAGE_MARK + b"\0\0\0\0"
_MAX_ADDRESS = 2**57
"""No address space that Linux gives to a process is larger; sums of sizes stay within int64."""

_UNREADABLE = (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError, KeyError)


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """The recording in a file.

    What a crash or damage has cut off is left out, and `Recording.complete` is then false. Raises
    `RecordingError` where there is no such file, or it is not a recording.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise RecordingError(
            f"there is no recording {path}", hint="make one with: pydamon record"
        ) from error
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it does not fit into memory"
        raise RecordingError(f"cannot read {path}: {reason}") from error
    if not content:
        raise RecordingError(f"{path} is empty")
    if not content.startswith(_MESSAGE_MARK):
        raise RecordingError(f"{path} is not a pydamon recording")
    source = pa.BufferReader(content)
    try:
        # Batches hold a second each: handing their columns to threads takes longer than reading.
        reader = pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False))
        info = _info(reader.schema)
    except _UNREADABLE as error:
        raise RecordingError(f"{path} is not a pydamon recording: {_line(error)}") from error
    batches, reason = _batches(reader)
    if not reason and not (source.tell() == len(content) and content.endswith(_END)):
        reason = "it was not closed: its recorder still runs or was killed"
    table, damage = _valid(batches)
    return Recording(info, table, damage or reason)


def _info(schema: pa.Schema) -> RecordingInfo:
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise ValueError("it has no description of a recording")
    info = RecordingInfo.from_json(text)
    if info.schema_version > SCHEMA_VERSION:
        raise ValueError(f"version {info.schema_version} of the format needs a newer pydamon")
    for column in COLUMNS:
        index = schema.get_field_index(column.name)
        if index < 0:
            raise ValueError(f"the column {column.name} is missing")
        if schema.field(index).type != column.type:
            raise ValueError(f"the column {column.name} is not of type {column.type}")
    return info


def _batches(reader: pa.RecordBatchStreamReader) -> tuple[list[pa.RecordBatch], str]:
    """The batches up to the first that cannot be read, and why it cannot."""
    batches: list[pa.RecordBatch] = []
    while True:
        try:
            batch = reader.read_next_batch().select(COLUMNS.names)
            batch.validate(full=True)
        except StopIteration:
            return batches, ""
        except _UNREADABLE:
            return batches, "its end is cut off or damaged"
        if any(column.null_count for column in batch.columns):
            return batches, "it is damaged: values are missing"
        batches.append(batch)


def _valid(batches: list[pa.RecordBatch]) -> tuple[pa.Table, str]:
    """One table of the batches before the first that holds nonsense, and whether one does."""
    table = _table(batches)
    wrong = _nonsense(table)
    if not wrong.any():
        return table, ""
    ends = np.cumsum([len(batch) for batch in batches])
    sound = int(np.searchsorted(ends, int(wrong.argmax()), side="right"))
    return _table(batches[:sound]), "it is damaged: regions make no sense"


def _table(batches: list[pa.RecordBatch]) -> pa.Table:
    schema = COLUMNS.remove_metadata()
    columns = [
        pa.chunked_array([batch.column(name) for batch in batches], schema.field(name).type)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema).unify_dictionaries().combine_chunks()


def _nonsense(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows cannot have come from a monitor."""
    c = {
        field.name: numbers(single(table, field.name))
        for field in table.schema
        if not pa.types.is_dictionary(field.type)
    }
    size = c["end"] - c["start"]
    wrong: NDArray[np.bool_] = (
        (c["start"] < 0)
        | (c["end"] > _MAX_ADDRESS)
        | (size <= 0)
        | (c["start_ns"] < 0)
        | (c["end_ns"] < c["start_ns"])
        | (c["nr_accesses"] < 0)
        | (c["nr_accesses"] > c["max_nr_accesses"])
        | (c["max_nr_accesses"] < 1)
        | (c["touched_bytes"] < 0)
        | (c["touched_bytes"] > size)
        | (c["unobservable_bytes"] < 0)
        | (c["unobservable_bytes"] > size)
    )
    for name in ("pid", "age", "sampling_ns", "cpu_ns", "interruption_ns", "late_ticks"):
        wrong |= c[name] < 0
    return wrong


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or ["it does not fit into memory"])[0]

"""Files of owners beside a recording, written by providers that ask while it is recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from pydamon._data.formats.output import replacing
from pydamon._model.errors import RecordingError
from pydamon._model.owners import FOREVER_NS, MemoryView, Owners

__all__ = ["owners_file", "read_owners", "saved_beside", "write_owners"]

_SUFFIX = ".owners"
_FORMAT = b"pydamon owners 1"
_COLUMNS = {
    "start": pa.uint64(),
    "end": pa.uint64(),
    "owner": pa.int32(),
    "since_ns": pa.int64(),
    "until_ns": pa.int64(),
}
_SCHEMA = pa.schema(
    [
        ("paths", pa.list_(pa.list_(pa.string()))),
        ("pids", pa.list_(pa.int64())),
        ("is_shared", pa.bool_()),
        ("stays_resident", pa.bool_()),
        ("containers", pa.list_(pa.int32())),
        ("views", pa.list_(pa.list_(pa.int64()))),
        ("notes", pa.list_(pa.string())),
        *((name, pa.list_(kind)) for name, kind in _COLUMNS.items()),
    ],
    metadata={"format": _FORMAT},
)
"""A row for each address space that has owners."""
_LABELS = len(_SCHEMA) - len(_COLUMNS)


def owners_file(recording: Path, provider: str) -> Path:
    """The file of what a provider told while a recording was written."""
    return recording.with_name(f"{recording.name}.{provider}{_SUFFIX}")


def saved_beside(recording: Path) -> list[Path]:
    """The files of owners that lie beside a recording."""
    pattern = f"{recording.name}."
    if not recording.parent.is_dir():
        return []
    return sorted(
        path
        for path in recording.parent.iterdir()
        if path.name.startswith(pattern) and path.name.endswith(_SUFFIX)
    )


def write_owners(path: Path, spaces: Sequence[Owners]) -> None:
    """Write the owners of some address spaces; the file is replaced as a whole.

    Raises
    ------
    RecordingError
        If the file cannot be written.
    """
    rows = [
        {
            "paths": [list(map(_utf8, labels)) for labels in owners.paths],
            "pids": list(owners.pids),
            "is_shared": owners.is_shared,
            "stays_resident": owners.stays_resident,
            "containers": sorted(owners.containers),
            "views": [list(view) for view in owners.views],
            "notes": list(map(_utf8, owners.notes)),
        }
        for owners in spaces
    ]
    columns = {
        field.name: pa.array([row[field.name] for row in rows], field.type)
        for field in list(_SCHEMA)[:_LABELS]
    }
    for name, kind in _COLUMNS.items():
        parts = [getattr(owners, name) for owners in spaces]
        offsets = np.cumsum([0, *map(len, parts)])
        values = pa.array(np.concatenate(parts) if parts else [], kind)
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
    table = pa.table(columns, schema=_SCHEMA)
    options = ipc.IpcWriteOptions(compression="zstd")
    with (
        replacing(path, force=True, private=True) as file,
        ipc.new_file(file, table.schema, options=options) as writer,
    ):
        writer.write_table(table)


def read_owners(path: Path) -> list[Owners]:
    """Read a file of owners: those of each address space.

    Raises
    ------
    RecordingError
        If it cannot be read, or is no file of owners.
    """
    try:
        # A thread of Arrow reads it. The buffers of Python's own files need the interpreter, also
        # when that is just ending, and Arrow then aborts the process.
        with pa.OSFile(os.fsencode(path)) as file:
            table = ipc.open_file(file).read_all()
        table.validate(full=True)
        if (table.schema.metadata or {}).get(b"format") != _FORMAT or table.schema != _SCHEMA:
            raise RecordingError(f"{path} is no file of owners")
        return [_owners_of(table.slice(row, 1)) for row in range(len(table))]
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise RecordingError(f"cannot read {path}: {reason}") from None
    except (pa.ArrowException, ValueError, TypeError):
        raise RecordingError(f"{path} is no file of owners, or is damaged") from None


def _utf8(label: str) -> str:
    """A label that Arrow can hold: other bytes of a file's name are escaped, as in recordings."""
    return label.encode(errors="backslashreplace").decode()


def _owners_of(row: pa.Table) -> Owners:
    """The owners of one address space; raises `ValueError` or `TypeError` if they make no sense."""
    columns = [row[name].combine_chunks().flatten() for name in _COLUMNS]
    if any(column.null_count for column in columns) or len(set(map(len, columns))) > 1:
        raise ValueError("columns that do not fit")
    start, end, owner, since_ns, until_ns = (
        column.to_numpy(zero_copy_only=False) for column in columns
    )
    paths, pids, is_shared, stays_resident, containers, views, notes = (
        row[name][0].as_py() for name in _SCHEMA.names[:_LABELS]
    )
    if None in [*chain(*paths), *pids, *containers, *notes, is_shared, stays_resident]:
        raise ValueError("a value is missing")
    numbers = np.append(owner, np.array(containers, np.int32))
    if ((numbers < 0) | (numbers >= len(paths))).any() or (end > FOREVER_NS).any():
        raise ValueError("owners without a path, or no addresses")
    return Owners(
        tuple(map(tuple, paths)),
        start,
        end,
        owner,
        since_ns,
        until_ns,
        pids=tuple(pids),
        is_shared=is_shared,
        stays_resident=stays_resident,
        containers=frozenset(containers),
        views=tuple(MemoryView(*view) for view in views),
        notes=tuple(notes),
    )

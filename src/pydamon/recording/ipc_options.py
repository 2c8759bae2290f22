"""How pydamon's own files are compressed: a recorder needs that, and no formats."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["BATCH_ROWS", "compact_options", "stream_options"]

BATCH_ROWS = 2**16
"""Of a batch that need not be in the file this second: more would hardly compress any better."""
_LEVEL = 5
"""Of zstd: above it a second of regions takes ever more time and hardly less space."""
_COMPACT_LEVEL = 7
"""5 % less space than at 5, for half as much time again."""


def stream_options() -> pa.ipc.IpcWriteOptions:
    """How a batch a second is compressed."""
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", _LEVEL), use_threads=False)


def compact_options() -> pa.ipc.IpcWriteOptions:
    """How large batches are."""
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", _COMPACT_LEVEL), use_threads=False)

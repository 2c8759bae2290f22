"""Hash maps of BPF, read and emptied in batches (Linux 5.6)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError
from pydamon._observe.probes.ebpf.call import BPF, syscall

__all__ = ["HASH", "HashMap"]

HASH = 1
"""BPF_MAP_TYPE_HASH"""
_LOOKUP_BATCH, _DELETE_BATCH = 24, 27


class HashMap:
    """A hash map of at most *entries* keys."""

    def __init__(self, fd: int, key_bytes: int, value_bytes: int, entries: int) -> None:
        self.fd = fd
        self.entries = entries
        self._keys = np.zeros((entries, key_bytes), np.uint8)
        self._values = np.zeros((entries, value_bytes), np.uint8)

    def read(self, key: np.dtype[Any], value: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Copy all keys and values, as elements of these dtypes.

        A key that is added or deleted meanwhile may be missing or be there twice.
        """
        cursor = (ctypes.c_uint64(), ctypes.c_uint64())
        read, more, is_first = 0, True, True
        while more and read < self.entries:
            attr = self._batch(read, self.entries - read, values=True)
            if not is_first:
                struct.pack_into("=Q", attr, 0, ctypes.addressof(cursor[0]))
            struct.pack_into("=Q", attr, 8, ctypes.addressof(cursor[1]))
            more = self._call(_LOOKUP_BATCH, attr, "read")
            read += struct.unpack_from("=I", attr, 32)[0]
            cursor[0].value, is_first = cursor[1].value, False
        keys, values = self._keys[:read].copy(), self._values[:read].copy()
        return keys.view(key)[:, 0], values.view(value)[:, 0]

    def delete(self, keys: NDArray[Any]) -> None:
        """Delete these keys, all of which must be in the map."""
        if len(keys):
            self._keys[: len(keys)] = (
                np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), -1)
            )
            self._call(_DELETE_BATCH, self._batch(0, len(keys), values=False), "delete from")

    def close(self) -> None:
        """Close the descriptor; programs that use the map keep it."""
        os.close(self.fd)

    def _batch(self, first: int, count: int, *, values: bool) -> bytearray:
        keys_at = self._keys.ctypes.data + first * self._keys.shape[1]
        values_at = self._values.ctypes.data + first * self._values.shape[1] if values else 0
        return bytearray(struct.pack("=4Q2I2Q", 0, 0, keys_at, values_at, count, self.fd, 0, 0))

    def _call(self, command: int, attr: bytearray, what: str) -> bool:
        """Run a batch; whether there is more."""
        buffer = (ctypes.c_char * len(attr)).from_buffer(attr)
        if syscall(BPF, command, ctypes.addressof(buffer), len(attr)) == 0:
            return True
        code = ctypes.get_errno()
        if code == errno.ENOENT:
            return False
        raise ProbeError(f"cannot {what} a BPF hash map: {os.strerror(code)}")

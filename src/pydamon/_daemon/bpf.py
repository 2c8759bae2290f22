"""bpf(2), as far as the daemon needs it: maps, programs, runs, iterators, a tracepoint."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any

_BPF = 280 if os.uname().machine == "aarch64" else 321
_PROCESS_MADVISE, _MADV_COLD = 440, 20
_MAP_CREATE, _PROG_LOAD, _TEST_RUN, _TRACEPOINT_OPEN = 0, 5, 10, 17
_BTF_LOAD, _LINK_CREATE, _ITER_CREATE = 18, 28, 33
_TASK_ITERATOR = 28
_LOAD_64, _MAP_BY_FD = 0x18, 1
"""The instruction that loads an address, and what says that it is a map's."""
_TRACEPOINTS = ("local_timer_entry", "hrtimer_expire_entry")
_BODY_TYPE = 3
_LICENCE = b"Dual MIT/GPL\0"

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def _bpf(command: int, attr: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attr, max(len(attr), 128))
    result = int(_syscall(_BPF, command, ctypes.byref(buffer), len(buffer)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot {what}: {os.strerror(code)}")
    return result


def advise(pidfd: int, address: int, count: int) -> int:
    """MADV_COLD for the *count* ranges at *address* of ours: bytes advised, or minus the errno."""
    done = _syscall(_PROCESS_MADVISE, pidfd, ctypes.c_void_p(address), count, _MADV_COLD, 0)
    return int(done) if done >= 0 else -ctypes.get_errno()


class Map:
    """A memory-mapped array map."""

    def __init__(self, name: str, definition: list[int], count: int) -> None:
        kind, key, value, _, flags = definition
        self.stride = -(-value // 8) * 8
        attr = struct.pack("=7I16s", kind, key, value, count, flags, 0, 0, name.encode()[:15])
        self.fd = _bpf(_MAP_CREATE, attr, f"create the map {name}")
        size = -(-self.stride * count // mmap.PAGESIZE) * mmap.PAGESIZE
        self.memory = memoryview(mmap.mmap(self.fd, size))
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))


class Programs:
    """Maps and programs of a plan; closing them unloads all of it."""

    def __init__(self, plan: dict[str, Any], names: Sequence[str], counts: dict[str, int]) -> None:
        self.maps: dict[str, Map] = {}
        self._fds: dict[str, int] = {}
        self._runs: dict[str, Any] = {}
        self._link = self._types = -1
        try:
            for name, definition in plan["maps"].items():
                self.maps[name] = Map(name, definition, counts.get(name, definition[3]))
            self._types = _load_types()
            map_fds = [bpf_map.fd for bpf_map in self.maps.values()]
            for name in names:
                fd = _load(name, plan["programs"][name], map_fds, self._types)
                self._fds[name] = fd
                self._runs[name] = ctypes.create_string_buffer(struct.pack("=I76x", fd), 80)
        except BaseException:
            self.close()
            raise
        finally:
            # Programs and mapped memory keep what they need.
            for fd in [self._types, *(bpf_map.fd for bpf_map in self.maps.values())]:
                if fd >= 0:
                    os.close(fd)

    def run(self, name: str) -> int:
        """Run a program once; its result."""
        attr = self._runs[name]
        if _syscall(_BPF, _TEST_RUN, ctypes.byref(attr), 80):
            code = ctypes.get_errno()
            raise OSError(code, f"running {name} failed: {os.strerror(code)}")
        return int(ctypes.c_int32.from_buffer(attr, 4).value)

    def iterate(self, name: str, pidfd: int) -> None:
        """Run an iterator over one process, as is possible since Linux 6.1; raises `OSError`."""
        info = ctypes.create_string_buffer(struct.pack("=3I", 0, 0, pidfd))
        attr = (self._fds[name], 0, _TASK_ITERATOR, 0, ctypes.addressof(info), 12)
        link = _bpf(_LINK_CREATE, struct.pack("=4IQI4x", *attr), "iterate over a process")
        try:
            reader = _bpf(_ITER_CREATE, struct.pack("=2I", link, 0), "start an iterator")
            try:
                while os.read(reader, 4096):
                    pass
            finally:
                os.close(reader)
        finally:
            os.close(link)

    def attach(self, name: str) -> bool:
        """Let a program run at timer interrupts; False where no tracepoint may be used."""
        for tracepoint in _TRACEPOINTS:
            text = ctypes.create_string_buffer(tracepoint.encode())
            attr = struct.pack("=QI4x", ctypes.addressof(text), self._fds[name])
            try:
                self._link = _bpf(_TRACEPOINT_OPEN, attr, f"attach to {tracepoint}")
            except OSError:
                continue
            return True
        return False

    def close(self) -> None:
        """Unload the programs; the maps go with the last view of their memory."""
        for fd in [self._link, *self._fds.values()]:
            if fd >= 0:
                os.close(fd)
        self._link = -1
        self._fds.clear()


def _load_types() -> int:
    """Types of functions whose address is taken: the kernel wants some, and one does for all."""
    strings = b"\0int\0body\0"
    # int; a function that returns it; a static function of that type
    types = struct.pack("=3II3I3I", 1, 1 << 24, 4, 1 << 24 | 32, 0, 13 << 24, 1, 5, 12 << 24, 2)
    header = struct.pack("=HBBI4I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    data = ctypes.create_string_buffer(header + types + strings)
    attr = struct.pack("=QQ3I", ctypes.addressof(data), 0, len(data) - 1, 0, 0)
    return _bpf(_BTF_LOAD, attr, "load types")


def _load(name: str, program: dict[str, Any], map_fds: list[int], types: int) -> int:
    code, starts = bytearray.fromhex(program["code"]), program["starts"]
    for at in range(0, len(code), 8):
        if code[at] == _LOAD_64 and code[at + 1] >> 4 == _MAP_BY_FD:
            (place,) = struct.unpack_from("=I", code, at + 4)
            struct.pack_into("=I", code, at + 4, map_fds[place])
    functions = struct.pack(f"={2 * len(starts)}I", *(n for at in starts for n in (at, _BODY_TYPE)))
    pointers = [ctypes.create_string_buffer(bytes(d), len(d)) for d in (code, _LICENCE, functions)]
    instructions, licence, info = map(ctypes.addressof, pointers)
    bodies = (types, 8, info, len(starts)) if len(starts) > 1 else (0, 0, 0, 0)
    attr = struct.pack(
        "=2IQQ2IQ2I16s4IQ2IQ2I",
        *(program["type"], len(code) // 8, instructions, licence, 0, 0, 0, 0, program["flags"]),
        *(name.encode()[:15], 0, program["attach_type"], *bodies, 0, 0, 0, program["attach_to"]),
    )
    return _bpf(_PROG_LOAD, attr, f"load the program {name}")

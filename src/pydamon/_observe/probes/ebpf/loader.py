"""Load a BPF object: the few commands of bpf(2) that this project needs.

The maps of the object are `struct map_def` symbols in the section "maps"; its programs are
functions in sections that are named after their type. Layouts are those of Linux,
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.probes.ebpf.call import BPF, bpf, has_perfmon, syscall
from pydamon._observe.probes.ebpf.hash_map import HASH, HashMap
from pydamon._observe.probes.ebpf.linker import (
    NOTHING,
    Linker,
    MapDefinition,
    read_maps,
    read_object,
)
from pydamon._observe.probes.ebpf.members import INSTRUCTION_BYTES, with_offsets

__all__ = ["PROGRAM_TYPES", "BpfMap", "BpfObject", "Program", "ProgramType"]

_MAP_CREATE, _PROG_LOAD, _PROG_TEST_RUN, _RAW_TRACEPOINT_OPEN = 0, 5, 10, 17
_LINK_CREATE, _ITER_CREATE = 28, 33
_BTF_LOAD = 18
_LOG_BYTES = 1 << 20
"""Room for what the verifier says."""
_RIGHTS = "run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_NICE and CAP_SYS_PTRACE"
_BODY_TYPE = 3
"""The id of the type of a body in what `_load_types` loads."""


@dataclass(frozen=True, slots=True)
class ProgramType:
    """How programs of a section are loaded."""

    number: int
    attach_type: int = 0
    attach_to: str = ""
    flags: int = 0
    optional: bool = False
    """Whether everything else works without it."""


PROGRAM_TYPES = {
    # Programs that user space runs; they must be allowed to sleep. Since Linux 5.14.
    "syscall": ProgramType(31, flags=1 << 4),
    # An iterator over tasks: a tracing program, attached to a function of its name. Since 5.8.
    "iter/task": ProgramType(26, 28, "bpf_iter_task"),
    # What runs at a tracepoint. 4.17; not everybody who may do the rest may do that.
    "raw_tp/tick": ProgramType(17, optional=True),
    # What runs at the entry of a function, with typed arguments. x86-64: 5.5, arm64: 6.4.
    "fentry/folio_mark_accessed": ProgramType(26, 24, "folio_mark_accessed"),
}


class BpfMap:
    """A memory-mapped array map; `array` views it as elements of a dtype."""

    def __init__(self, name: str, definition: MapDefinition) -> None:
        _, _, self.value_bytes, self.entries, _ = definition
        self.fd = _create_map(name, definition)
        self._stride = -(-self.value_bytes // 8) * 8
        """The kernel begins each element at a multiple of 8 bytes."""
        length = -(-self._stride * self.entries // mmap.PAGESIZE) * mmap.PAGESIZE
        self.memory = mmap.mmap(self.fd, length)

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The elements of the map, as a view: writing to it writes to the map."""
        assert dtype.itemsize == self.value_bytes or self.entries == 1, "layouts differ from C"
        return np.ndarray(self.entries, dtype, self.memory, strides=(self._stride,))

    @property
    def address(self) -> int:
        """The address of the map in our memory."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))


class Program:
    """A loaded program."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self._attr = ctypes.create_string_buffer(struct.pack("=I76x", fd), 80)
        self._at = ctypes.addressof(self._attr)

    def run(self) -> int:
        """Run a program of type "syscall" once; returns its result."""
        if syscall(BPF, _PROG_TEST_RUN, self._at, 80) != 0:
            code = ctypes.get_errno()
            raise ProbeError(f"running the BPF program {self.name} failed: {os.strerror(code)}")
        return ctypes.c_int32.from_buffer(self._attr, 4).value

    def attach(self, tracepoint: str) -> int:
        """Run a program at a tracepoint from now on: a descriptor, which ends that when closed.

        Raises `OSError` where there is no such tracepoint, or where it is not allowed.
        """
        name = ctypes.create_string_buffer(tracepoint.encode())
        attr = struct.pack("=QI4x", ctypes.addressof(name), self.fd)
        return bpf(_RAW_TRACEPOINT_OPEN, attr, f"attach to the tracepoint {tracepoint}")

    def trace(self) -> int:
        """Run a program at the entry of its function from now on: a descriptor as of `attach`."""
        attr = struct.pack("=QI4x", 0, self.fd)
        return bpf(_RAW_TRACEPOINT_OPEN, attr, f"attach {self.name} to a function of the kernel")

    def iterate(self, pidfd: int) -> bool:
        """Run an iterator program over the threads of one process.

        Before Linux 6.1 an iterator cannot be limited to a process: the result is False then, and
        the program saw every task of the machine.
        """
        info = struct.pack("=3I", 0, 0, pidfd)
        buffer = ctypes.create_string_buffer(info)
        attr = struct.pack("=4IQI4x", self.fd, 0, 28, 0, ctypes.addressof(buffer), len(info))
        limited = True
        try:
            link = bpf(_LINK_CREATE, attr, "attach a task iterator")
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.E2BIG):
                raise
            limited = False
            attr = struct.pack("=4IQI4x", self.fd, 0, 28, 0, 0, 0)
            link = bpf(_LINK_CREATE, attr, "attach a task iterator")
        try:
            reader = bpf(_ITER_CREATE, struct.pack("=2I", link, 0), "start a task iterator")
            try:
                while os.read(reader, 4096):
                    pass
            finally:
                os.close(reader)
        finally:
            os.close(link)
        return limited


class BpfObject:
    """The maps and programs of an object file, loaded into the kernel.

    *entries* overrides the number of elements of maps; *type_ids* has the BTF ids of the functions
    that programs attach to; *fields* has the offset of each member of a structure of the kernel,
    by its number in the program; *constants* is that of `Linker`. Raises `ProbeUnavailable` if the
    kernel refuses, or if this user may not load programs; if the verifier refused a program, with
    the end of its log.
    """

    def __init__(
        self,
        path: Path,
        entries: Mapping[str, int],
        type_ids: Mapping[str, int],
        fields: Sequence[int] = (),
        constants: Mapping[str, int] = NOTHING,
    ) -> None:
        self.maps: dict[str, BpfMap] = {}
        self.hash_maps: dict[str, HashMap] = {}
        self.programs: dict[str, Program] = {}
        elf, symbols = read_object(path)
        self._types = -1
        try:
            self._types = _load_types()
            maps = self._create_maps(read_maps(elf, symbols), entries)
            self._load_programs(Linker(elf, symbols, maps, constants), type_ids, fields)
        except BaseException:
            self.close()
            raise
        finally:
            if self._types >= 0:
                os.close(self._types)
            # The programs and the mapped memory keep the maps: descriptors may be few.
            for bpf_map in self.maps.values():
                os.close(bpf_map.fd)

    def close(self) -> None:
        """Unload; mapped memory stays until nobody refers to it."""
        for program in self.programs.values():
            os.close(program.fd)
        self.programs.clear()
        for hash_map in self.hash_maps.values():
            hash_map.close()
        self.hash_maps.clear()

    def _create_maps(
        self, definitions: Mapping[str, MapDefinition], entries: Mapping[str, int]
    ) -> dict[str, int]:
        """Create maps; the descriptor of each."""
        fds = {}
        for name, (kind, key, value, default, flags) in definitions.items():
            count = entries.get(name, default)
            definition = (kind, key, value, count, flags)
            try:
                if kind == HASH:
                    fds[name] = _create_map(name, definition)
                    self.hash_maps[name] = HashMap(fds[name], key, value, count)
                else:
                    self.maps[name] = BpfMap(name, definition)
                    fds[name] = self.maps[name].fd
            except OSError as error:
                raise _unavailable(error) from None
        return fds

    def _load_programs(
        self, linker: Linker, type_ids: Mapping[str, int], fields: Sequence[int]
    ) -> None:
        for name, section, code, starts in linker.programs(PROGRAM_TYPES):
            kind = PROGRAM_TYPES[section]
            attach_to = type_ids[kind.attach_to] if kind.attach_to else 0
            try:
                fd = _load(name, kind, with_offsets(code, fields), attach_to, starts, self._types)
            except ProbeUnavailable:
                if not kind.optional:
                    raise
                continue
            self.programs[name] = Program(name, fd)


def _create_map(name: str, definition: MapDefinition) -> int:
    attr = struct.pack("=7I16s", *definition, 0, 0, _name(name))
    return bpf(_MAP_CREATE, attr, f"create the BPF map {name}")


def _load_types() -> int:
    """Types for functions whose address is taken: the kernel asks for some. A descriptor.

    It wants to know that the body of a loop is a static function, and no more: one type does for
    all of them. To load it is the first thing that an ordinary user may not do.
    """
    strings = b"\0int\0body\0"
    types = struct.pack(
        "=3II 3I 3I",
        # [1] int, of 32 bits, signed
        *(1, 1 << 24, 4, 1 << 24 | 32),
        # [2] a function that returns [1]; its arguments do not matter
        *(0, 13 << 24, 1),
        # [3] "body", a static function of type [2]
        *(5, 12 << 24, 2),
    )
    header = struct.pack("=HBBI4I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    buffer = ctypes.create_string_buffer(header + types + strings)
    attr = struct.pack("=QQ3I", ctypes.addressof(buffer), 0, len(buffer) - 1, 0, 0)
    try:
        return bpf(_BTF_LOAD, attr, "load BTF")
    except OSError as error:
        raise _unavailable(error) from None


def _load(
    name: str, kind: ProgramType, code: bytes, attach_to: int, starts: list[int], types: int
) -> int:
    """Load a program whose functions begin at *starts*, in instructions."""
    functions = struct.pack(f"={2 * len(starts)}I", *(n for at in starts for n in (at, _BODY_TYPE)))
    function_info = ctypes.create_string_buffer(functions)
    has_bodies = len(starts) > 1
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Dual MIT/GPL")

    def attr(log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        log_address = ctypes.addressof(log) if log else 0
        return struct.pack(
            "=2IQQ2IQ2I16s4IQ2IQ2I",
            *(kind.number, len(code) // INSTRUCTION_BYTES),
            *(ctypes.addressof(instructions), ctypes.addressof(licence)),
            *(1 if log else 0, _LOG_BYTES if log else 0, log_address),
            *(0, kind.flags, _name(name), 0, kind.attach_type),
            *(
                (types, 8, ctypes.addressof(function_info), len(starts))
                if has_bodies
                else (0, 0, 0, 0)
            ),
            *(0, 0, 0, attach_to),
        )

    what = f"load the BPF program {name}"
    try:
        return bpf(_PROG_LOAD, attr(None), what)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise _unavailable(error) from None
        if not has_perfmon():
            # The verifier allows less then, and rejects the program for any reason.
            raise ProbeUnavailable(f"cannot {what} without CAP_PERFMON", hint=_RIGHTS) from None
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return bpf(_PROG_LOAD, attr(log), what)
        except OSError as again:
            words = log.value.decode(errors="replace").strip().splitlines()[-3:]
            raise ProbeUnavailable(f"{again.strerror} ({' / '.join(words)})") from None


def _unavailable(error: OSError) -> ProbeUnavailable:
    return ProbeUnavailable(str(error.strerror), hint=_RIGHTS if error.errno == errno.EPERM else "")


def _name(name: str) -> bytes:
    return name.encode()[:15]

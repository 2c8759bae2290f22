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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError, ProbeUnavailable
from pydamon._observe.linux.arch import system_call
from pydamon._observe.probes.ebpf.elf import ElfError, ElfFile

__all__ = ["BpfMap", "BpfObject", "Program"]

_BPF = system_call("bpf")
_MAP_CREATE, _PROG_LOAD, _PROG_TEST_RUN, _LINK_CREATE, _ITER_CREATE = 0, 5, 10, 28, 33
_LOG_BYTES = 1 << 20
"""Room for what the verifier says."""

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long]


@dataclass(frozen=True, slots=True)
class _ProgramType:
    number: int
    attach_type: int = 0
    attach_to: str = ""
    flags: int = 0


_PROGRAM_TYPES = {
    # Programs that user space runs; they must be allowed to sleep. Since Linux 5.14.
    "syscall": _ProgramType(31, flags=1 << 4),
    # An iterator over tasks: a tracing program, attached to a function of its name. Since 5.8.
    "iter/task": _ProgramType(26, 28, "bpf_iter_task"),
}


class BpfMap:
    """A memory-mapped array map; `array` views it as elements of a dtype."""

    def __init__(self, name: str, definition: tuple[int, int, int, int, int]) -> None:
        kind, key_bytes, self.value_bytes, self.entries, flags = definition
        attr = struct.pack(
            "=7I16s", kind, key_bytes, self.value_bytes, self.entries, flags, 0, 0, _name(name)
        )
        self.fd = _bpf(_MAP_CREATE, attr, f"create the BPF map {name}")
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
        if _syscall(_BPF, _PROG_TEST_RUN, self._at, 80) != 0:
            code = ctypes.get_errno()
            raise ProbeError(f"running the BPF program {self.name} failed: {os.strerror(code)}")
        return ctypes.c_int32.from_buffer(self._attr, 4).value

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
            link = _bpf(_LINK_CREATE, attr, "attach a task iterator")
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.E2BIG):
                raise
            limited = False
            attr = struct.pack("=4IQI4x", self.fd, 0, 28, 0, 0, 0)
            link = _bpf(_LINK_CREATE, attr, "attach a task iterator")
        try:
            reader = _bpf(_ITER_CREATE, struct.pack("=2I", link, 0), "start a task iterator")
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
    that iterators attach to. Raises `ProbeUnavailable` if the kernel refuses, or if this user may
    not load programs; if the verifier refused a program, with the end of its log.
    """

    def __init__(self, path: Path, entries: Mapping[str, int], type_ids: Mapping[str, int]) -> None:
        self.maps: dict[str, BpfMap] = {}
        self.programs: dict[str, Program] = {}
        try:
            elf = ElfFile(path.read_bytes())
            table: Any = elf.get_section_by_name(".symtab")
            symbols = list(table.iter_symbols())
        except (OSError, ElfError, AttributeError) as error:
            raise ProbeUnavailable(
                f"cannot read the BPF object {path.name}: {error}",
                hint="install pydamon again: the object is built when it is installed",
            ) from None
        try:
            self._create_maps(elf, symbols, entries)
            for section in elf.iter_sections():
                if section.name in _PROGRAM_TYPES:
                    self._load_programs(elf, section, symbols, type_ids)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unload; mapped memory stays until nobody refers to it."""
        for bpf_map in self.maps.values():
            os.close(bpf_map.fd)
        for program in self.programs.values():
            os.close(program.fd)
        self.maps.clear()
        self.programs.clear()

    def _create_maps(self, elf: ElfFile, symbols: list[Any], entries: Mapping[str, int]) -> None:
        section: Any = elf.get_section_by_name("maps")
        index, data = elf.get_section_index("maps"), section.data()
        for symbol in symbols:
            if symbol["st_shndx"] == index and symbol.name:
                at = symbol["st_value"]
                kind, key, value, default, flags = struct.unpack_from("=5I", data, at)
                count = entries.get(symbol.name, default)
                try:
                    self.maps[symbol.name] = BpfMap(symbol.name, (kind, key, value, count, flags))
                except OSError as error:
                    raise _unavailable(error) from None

    def _load_programs(
        self, elf: ElfFile, section: Any, symbols: list[Any], type_ids: Mapping[str, int]
    ) -> None:
        code = bytearray(section.data())
        relocations: Any = elf.get_section_by_name(f".rel{section.name}")
        for relocation in relocations.iter_relocations() if relocations else ():
            # A 64-bit load of a map's address: replace the address by the map's descriptor.
            at = relocation["r_offset"]
            code[at + 1] |= 1 << 4  # BPF_PSEUDO_MAP_FD
            name = symbols[relocation["r_info_sym"]].name
            struct.pack_into("=I", code, at + 4, self.maps[name].fd)
        kind = _PROGRAM_TYPES[section.name]
        index = elf.get_section_index(section.name)
        for symbol in symbols:
            if symbol["st_shndx"] == index and symbol["st_info"]["type"] == "STT_FUNC":
                begin, size = symbol["st_value"], symbol["st_size"]
                attach_to = type_ids[kind.attach_to] if kind.attach_to else 0
                fd = _load(symbol.name, kind, bytes(code[begin : begin + size]), attach_to)
                self.programs[symbol.name] = Program(symbol.name, fd)


def _load(name: str, kind: _ProgramType, code: bytes, attach_to: int) -> int:
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Dual MIT/GPL")

    def attr(log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        log_address = ctypes.addressof(log) if log else 0
        return struct.pack(
            "=2IQQ2IQ2I16s4IQ2IQ2I",
            *(kind.number, len(code) // 8),
            *(ctypes.addressof(instructions), ctypes.addressof(licence)),
            *(1 if log else 0, _LOG_BYTES if log else 0, log_address),
            *(0, kind.flags, _name(name), 0, kind.attach_type, 0, 0, 0, 0, 0, 0, 0, attach_to),
        )

    what = f"load the BPF program {name}"
    try:
        return _bpf(_PROG_LOAD, attr(None), what)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise _unavailable(error) from None
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return _bpf(_PROG_LOAD, attr(log), what)
        except OSError as again:
            words = log.value.decode(errors="replace").strip().splitlines()[-3:]
            raise ProbeUnavailable(f"{again.strerror} ({' / '.join(words)})") from None


def _bpf(command: int, attr: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attr, max(len(attr), 128))
    result = int(_syscall(_BPF, command, ctypes.addressof(buffer), len(buffer)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot {what}: {os.strerror(code)}")
    return result


def _unavailable(error: OSError) -> ProbeUnavailable:
    hint = ""
    if error.errno == errno.EPERM:
        hint = "run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_NICE and CAP_SYS_PTRACE"
    return ProbeUnavailable(str(error.strerror), hint=hint)


def _name(name: str) -> bytes:
    return name.encode()[:15]

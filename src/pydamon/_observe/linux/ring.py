"""The memory in which the kernel writes tracepoints' events and CPU samples: perf_event_open(2)."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux.arch import MACHINE, system_call

__all__ = ["RECORD_LOST", "RECORD_SAMPLE", "EventRing", "text_of", "tracepoint", "tracepoints"]

_TRACING = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_SYSTEM = "events/damon"
# perf_event_open(2)
_SOFTWARE, _TRACEPOINT, _ATTR_SIZE = 1, 2, 112
_CPU_CLOCK = 0
_SAMPLE_IP, _SAMPLE_TID, _SAMPLE_TIME, _SAMPLE_RAW = 1 << 0, 1 << 1, 1 << 2, 1 << 10
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR, _EXCLUDE_IDLE = 1 << 1, 1 << 5, 1 << 6, 1 << 7
_FREQUENCY, _WATERMARK, _USE_CLOCKID = 1 << 10, 1 << 14, 1 << 25
_CLOSE_ON_EXEC = 1 << 3
_SET_OUTPUT = 0x2405
RECORD_LOST, RECORD_SAMPLE = 2, 9
"""Types of records: the kernel had to leave some out; a sample."""
_HEAD, _TAIL = 1024, 1032
"""The offsets of data_head and data_tail in the first page."""


def tracepoints() -> dict[str, Path]:
    """The directories of the tracepoints of DAMON that this kernel has and shows us, by name."""
    for tracing in _TRACING:
        with suppress(OSError):  # tracefs is not mounted, or only root may look into it
            if places := sorted((tracing / _SYSTEM).glob("*/id")):
                return {path.parent.name: path.parent for path in places}
    return {}


def tracepoint(name: str) -> Path:
    """The directory of a tracepoint of DAMON; raises `ProbeUnavailable` if there is none."""
    try:
        return tracepoints()[name]
    except KeyError:
        raise ProbeUnavailable(
            f"there is no tracepoint {name}: is tracefs mounted, and may we see it?"
        ) from None


def text_of(event: Path, file: str) -> str:
    """What a file of a tracepoint says; raises `ProbeUnavailable` if we may not read it."""
    try:
        return (event / file).read_text()
    except OSError as error:
        raise ProbeUnavailable(
            f"cannot read the tracepoint {event.name}: {error.strerror}", hint="needs root"
        ) from None


class EventRing(Closing):
    """A ring of *size* bytes, for the events of a thread *pid*, or of all threads on a *cpu*."""

    def __init__(self, size: int, *, pid: int = -1, cpu: int = -1) -> None:
        self._size = size
        self._thread, self._cpu = pid, cpu
        self._fds: list[int] = []
        self._memory: mmap.mmap | None = None

    def add(self, event: Path) -> None:
        """Have the events of a tracepoint, too; raises `ProbeUnavailable` where that fails."""
        number = int(text_of(event, "id"))
        self._listen(self._attributes(_TRACEPOINT, number, 1, _SAMPLE_TIME | _SAMPLE_RAW))

    def add_clock(self, hz: int, thread: int = -1, *, users_only: bool) -> None:
        """Have so many samples of running code a second: place, process and thread, time.

        Of all threads on the CPU, or of one *thread* and those that it starts; *users_only* leaves
        out the kernel's own code. Raises `ProbeUnavailable` where that fails.
        """
        sample = _SAMPLE_IP | _SAMPLE_TID | _SAMPLE_TIME
        flags = _FREQUENCY | _EXCLUDE_IDLE | _EXCLUDE_HYPERVISOR
        flags |= _EXCLUDE_KERNEL if users_only else 0
        flags |= _INHERIT if thread >= 0 else 0
        self._listen(self._attributes(_SOFTWARE, _CPU_CLOCK, hz, sample, flags), thread)

    def _attributes(self, kind: int, event: int, period: int, sample: int, flags: int = 0) -> bytes:
        return struct.pack(
            "=IIQQQQQIIQQQQIiQIHH",
            *(kind, _ATTR_SIZE, event),
            *(period, sample, 0),
            # No wake-ups: the reader knows when to look.
            *(flags | _WATERMARK | _USE_CLOCKID, self._size - 1),
            *(0, 0, 0, 0, 0, 0),
            *(time.CLOCK_MONOTONIC, 0, 0, 0, 0),
        )

    def _listen(self, attributes: bytes, thread: int | None = None) -> None:
        thread = self._thread if thread is None else thread
        self._fds.append(_open(attributes, thread, self._cpu))
        try:
            if self._memory is None:
                self._memory = mmap.mmap(self._fds[0], mmap.PAGESIZE + self._size)
            else:
                fcntl.ioctl(self._fds[-1], _SET_OUTPUT, self._fds[0])
        except OSError as error:
            raise ProbeUnavailable(f"cannot map the memory of events: {error.strerror}") from None

    def take(self) -> bytes:
        """Take the bytes that the kernel has written since the last call."""
        assert self._memory is not None
        head, tail = struct.unpack_from("=QQ", self._memory, _HEAD)
        if head == tail:
            return b""
        begin, length = tail % self._size, head - tail
        first = min(length, self._size - begin)
        at = mmap.PAGESIZE + begin
        data = self._memory[at : at + first]
        data += self._memory[mmap.PAGESIZE : mmap.PAGESIZE + length - first]
        struct.pack_into("=Q", self._memory, _TAIL, head)
        return data

    def close(self) -> None:
        """Stop listening."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        while self._fds:
            os.close(self._fds.pop())


def _open(attributes: bytes, pid: int, cpu: int) -> int:
    number = system_call("perf_event_open")
    if number < 0:
        raise ProbeUnavailable(f"events cannot be read on {MACHINE} yet")
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(number, attributes, pid, cpu, -1, _CLOSE_ON_EXEC)
    if fd < 0:
        why = os.strerror(ctypes.get_errno())
        raise ProbeUnavailable(f"cannot listen to the kernel's events: {why}")
    return fd

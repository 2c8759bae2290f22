"""The `writes` probe: userfaultfd and the PAGEMAP_SCAN ioctl; exact, cheap where little changes.

The target's memory is registered for asynchronous write protection (Linux 6.7): at the first write
to a page, the kernel takes the protection off by itself. PAGEMAP_SCAN lists the written pages and
protects them again, in one step (Linux, Documentation/admin-guide/mm/pagemap.rst). A userfaultfd
belongs to the process that creates it. So the target is made to create one, of which only pydamon
keeps a descriptor: when that is closed, even by `kill -9`, the kernel undoes everything.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable, PydamonError, TargetError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.arch import system_call
from pydamon._observe.linux.inject import check_supported, injecting
from pydamon._observe.linux.pagemap import HUGE, PRESENT, WRITTEN, Pagemap, Selection
from pydamon._observe.linux.process import Process, refusal
from pydamon._observe.probes.base import PAGE_GRAIN, Availability, PageBits, Traits
from pydamon._observe.probes.scanning import ScanSession, frames_in_pagemaps

__all__ = ["WritesProbe"]

_USERFAULTFD, _CLOSE = system_call("userfaultfd"), system_call("close")
_PIDFD_OPEN, _PIDFD_GETFD = system_call("pidfd_open"), system_call("pidfd_getfd")
_PIDFD_THREAD = os.O_EXCL
_USER_MODE_ONLY = 1
"""Allowed to every user, whatever vm.unprivileged_userfaultfd says."""
_API, _REGISTER = 0xC018AA3F, 0xC020AA00
_UFFD_VERSION = 0xAA
_WP_ASYNC, _WP_UNPOPULATED = 1 << 15, 1 << 13
_MODE_WP = 2
_STATE = Selection(all_of=PRESENT, told=PRESENT | HUGE | WRITTEN)
_TAKE_WRITTEN = Selection(all_of=WRITTEN, told=WRITTEN, protect=True)

Marks: TypeAlias = NDArray[np.bool_]
"""One entry a page."""


@dataclass(frozen=True, slots=True)
class WritesProbe:
    """Sees which pages were written to since they were last protected."""

    name: str = "writes"
    traits: Traits = field(
        default=Traits(
            sees="writes",
            grain=PAGE_GRAIN,
            needs="a process of the same user that may be traced; Linux 6.7 on x86-64 or arm64",
            side_effects="stops the process for about 100 us at the start; after each aggregation, "
            "the first write to a page is a short page fault",
            scans=True,
            exact=True,
            by_name_only=True,
            min_samples=1,
        ),
        repr=False,
    )

    def availability(self) -> Availability:
        """Try on this process."""
        try:
            check_supported()
        except ProbeUnavailable as error:
            return Availability(False, str(error), error.hint)
        fd = _libc.syscall(_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
        if fd < 0:
            why = os.strerror(ctypes.get_errno())
            return Availability(False, f"userfaultfd: {why}", "needs CONFIG_USERFAULTFD")
        try:
            _enable(fd)
        except PydamonError as error:
            return Availability(False, str(error), error.hint)
        finally:
            os.close(fd)
        return Availability(True)

    def open(self) -> WritesSession:
        """Start a session without targets."""
        self.availability().require()
        return WritesSession()


class WritesSession(ScanSession):
    """A session of the `writes` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self) -> None:
        super().__init__()
        self._tracked: dict[Process, _Tracked] = {}

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        super().set_targets(processes, mappings)
        for gone in [process for process in self._tracked if process not in processes]:
            self._tracked.pop(gone).close()
        for process, mapped in zip(processes, mappings, strict=True):
            tracked = self._tracked.get(process)
            if tracked and not tracked.register(mapped):
                # It has called exec: its memory is new.
                self._tracked.pop(process).close()
                tracked = None
            if tracked is None and process.alive:
                try:
                    tracked = self._tracked[process] = _Tracked(process)
                except TargetError as error:
                    if not process.ends:
                        self._give_up(process, error)
                    continue
                tracked.register(mapped)

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        pages = (end - start) // PAGE_SIZE
        tracked = self._tracked.get(self._processes[target])
        if tracked is None:
            nothing = np.zeros(pages, np.bool_)
            return PageBits(start, nothing, nothing, nothing, nothing)
        known = tracked.covers(start, pages)
        present, huge, written = tracked.read(start, end)
        if clear:
            written = tracked.take(start, end)
        return PageBits(start, present, huge, written & present & known, present & ~known)

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        pagemaps = {process: tracked.pagemap for process, tracked in self._tracked.items()}
        return frames_in_pagemaps([pagemaps.get(each) for each in self._processes], stretches)

    def close(self) -> None:
        for tracked in self._tracked.values():
            tracked.close()
        self._tracked.clear()


class _Tracked:
    """The memory of a process, registered for write protection."""

    def __init__(self, process: Process) -> None:
        self.registered: list[tuple[int, int]] = []
        """Ranges in which writes are tracked."""
        self.pagemap = Pagemap(process)
        try:
            self.pagemap.open()
        except OSError as error:
            raise refusal(f"cannot watch pid {process.pid}", error) from error
        try:
            self._fd = _userfaultfd_of(process)
        except BaseException:
            self.pagemap.close()
            raise

    def register(self, mappings: MappingTable) -> bool:
        """Register the mapped memory; False if the process has another address space by now."""
        self.registered = []
        for start, end in [(m.start, m.end) for m in mappings.mappings if m.is_memory]:
            request = bytearray(struct.pack("=4Q", start, end - start, _MODE_WP, 0))
            try:
                fcntl.ioctl(self._fd, _REGISTER, request)
            except ProcessLookupError:
                return False
            except OSError:
                continue  # a mapping that can never be written to, or was unmapped again
            self.registered.append((start, end))
        return bool(self.registered)

    def covers(self, start: int, pages: int) -> Marks:
        """Whether writes to each of *pages* pages from *start* are tracked."""
        covered = np.zeros(pages, np.bool_)
        for low, high in self.registered:
            first, beyond = (low - start) // PAGE_SIZE, (high - start) // PAGE_SIZE
            covered[max(0, first) : max(0, beyond)] = True
        return covered

    def read(self, start: int, end: int) -> tuple[Marks, Marks, Marks]:
        """Which pages of a range are present, huge, and written to; changes nothing."""
        present, huge, written = np.zeros((3, (end - start) // PAGE_SIZE), np.bool_)
        for pages, categories in self._scan(start, end, _STATE):
            present[pages] = True
            huge[pages] = bool(categories & HUGE)
            written[pages] = bool(categories & WRITTEN)
        return present, huge, written

    def take(self, start: int, end: int) -> Marks:
        """Which pages of a range were written to; they are protected again."""
        written = np.zeros((end - start) // PAGE_SIZE, np.bool_)
        for pages, _ in self._scan(start, end, _TAKE_WRITTEN):
            written[pages] = True
        return written

    def _scan(self, start: int, end: int, selection: Selection) -> Iterator[tuple[slice, int]]:
        """Runs of pages of [start, end), and their categories; none once the process is gone."""
        try:
            for runs in self.pagemap.scan(start, end, selection):
                for low, high, categories in runs.tolist():
                    yield slice((low - start) // PAGE_SIZE, (high - start) // PAGE_SIZE), categories
        except OSError:
            return

    def close(self) -> None:
        """Undo everything: the kernel does that when the last descriptor is closed."""
        self.pagemap.close()
        os.close(self._fd)


_libc = ctypes.CDLL(None, use_errno=True)


def _userfaultfd_of(process: Process) -> int:
    """Our descriptor of a userfaultfd that the process created; it keeps none itself."""
    with injecting(process) as inject:
        theirs = inject(_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
        if theirs < 0:
            raise TargetError(f"pid {process.pid} cannot track writes: {os.strerror(-theirs)}")
        try:
            fd, number = _fetched(process, theirs)
        finally:
            inject(_CLOSE, theirs)
    if fd < 0:
        raise refusal(f"cannot track writes of pid {process.pid}", number)
    try:
        _enable(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _fetched(process: Process, theirs: int) -> tuple[int, int]:
    """Our copy of a descriptor of the process, or -1 and the errno."""
    pidfd = process.pidfd
    if process.without_leader:
        # The first thread has no descriptors any more. A pidfd of a thread came with Linux 6.9.
        pidfd = _libc.syscall(_PIDFD_OPEN, process.tid, _PIDFD_THREAD)
        if pidfd < 0:
            return -1, ctypes.get_errno()
    fd = _libc.syscall(_PIDFD_GETFD, pidfd, theirs, 0)
    number = ctypes.get_errno()
    if pidfd != process.pidfd:
        os.close(pidfd)
    return fd, number


def _enable(fd: int) -> None:
    """Agree with the kernel on the features of a userfaultfd."""
    request = bytearray(struct.pack("=3Q", _UFFD_VERSION, _WP_ASYNC | _WP_UNPOPULATED, 0))
    try:
        fcntl.ioctl(fd, _API, request)
    except OSError as error:
        raise ProbeUnavailable(
            f"asynchronous write protection: {error.strerror}", hint="it came with Linux 6.7"
        ) from None

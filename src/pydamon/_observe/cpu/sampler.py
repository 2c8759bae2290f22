"""Samples of the code that targets run, by function, for each window of a monitor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.cpu_use import CpuUse
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.snapshot import Snapshot, Target
from pydamon._observe.cpu.symbols import SymbolTable
from pydamon._observe.linux.arch import online_cpus
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.linux.ring import RECORD_LOST, RECORD_SAMPLE, EventRing
from pydamon._observe.monitor import Monitor
from pydamon._observe.probes.base import RealClock

__all__ = ["DEFAULT_HZ", "CpuSampler", "samples_in"]

DEFAULT_HZ = 99
"""Not 100: samples must not keep step with what a program does ten times a second."""
_HIGHEST_HZ = 10_000
_RING_BYTES = 128 << 10
"""Of each CPU: 4,096 samples, 41 s at the default rate."""
_KERNEL = "[kernel]"
_USER_END: Final = np.uint64(1 << 63)
_SAMPLE = np.dtype(
    [
        *(("type", "<u4"), ("misc", "<u2"), ("size", "<u2")),
        *(("address", "<u8"), ("pid", "<i4"), ("tid", "<i4"), ("time_ns", "<i8")),
    ]
)


def samples_in(data: bytes) -> tuple[NDArray[np.void], bool]:
    """The samples in the kernel's bytes, and whether the kernel had to leave some out."""
    if len(data) % _SAMPLE.itemsize == 0:
        samples = np.frombuffer(data, _SAMPLE)
        if ((samples["type"] == RECORD_SAMPLE) & (samples["size"] == _SAMPLE.itemsize)).all():
            return samples, False
    at, chosen, lost = 0, [], False
    while at + 8 <= len(data):
        kind, size = (int.from_bytes(data[at + a : at + b], "little") for a, b in ((0, 4), (6, 8)))
        if size < 8 or at + size > len(data):
            break
        if kind == RECORD_SAMPLE and size == _SAMPLE.itemsize:
            chosen.append(data[at : at + size])
        lost |= kind == RECORD_LOST
        at += size
    return np.frombuffer(b"".join(chosen), _SAMPLE), lost


class CpuSampler(Closing):
    """Notes which code the targets of a monitor run, *hz* times in each second of CPU time.

    As root, it hears of all processes; otherwise of those that the monitor has when it starts,
    and their children. Raises `ProbeUnavailable` where this user may not sample, and `UsageError`
    for a monitor without processes or a rate that makes no sense.
    """

    def __init__(self, mon: Monitor, hz: int = DEFAULT_HZ) -> None:
        if not 1 <= hz <= _HIGHEST_HZ:
            raise UsageError(f"functions are sampled 1 to {_HIGHEST_HZ:,} times a second, not {hz}")
        if not mon.layout.processes:
            raise UsageError(
                "only processes have functions to sample", hint="leave the profile out"
            )
        self.lost = False
        """Whether samples came faster than they were read, so that some are missing."""
        self._clock = RealClock()
        self._rings: list[EventRing] = []
        self._symbols = _Symbols()
        self._pending = np.zeros(0, _SAMPLE)
        try:
            self._open(mon.layout.processes, hz)
        except BaseException:
            self.close()
            raise

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with `cpu_use`: all samples before its end that none had yet."""
        self._take()
        end_ns = snapshot.end_ns - self._clock.unix_ns(0)
        is_before = self._pending["time_ns"] < end_ns
        samples, self._pending = self._pending[is_before], self._pending[~is_before]
        use = tuple(
            self._use_of(target, samples["address"][samples["pid"] == target.pid])
            for target in snapshot.targets
        )
        return replace(snapshot, cpu_use=use) if any(use) else snapshot

    def close(self) -> None:
        """Stop sampling."""
        while self._rings:
            self._rings.pop().close()

    def _open(self, processes: Iterable[Process], hz: int) -> None:
        for cpu in online_cpus():
            self._rings.append(EventRing(_RING_BYTES, cpu=cpu))
        try:
            for ring in self._rings:
                ring.add_clock(hz, users_only=False)
        except ProbeUnavailable:
            self._open_threads(processes, hz)

    def _open_threads(self, processes: Iterable[Process], hz: int) -> None:
        """Sample the threads that there are, without the kernel's code: any user may do that."""
        threads = [tid for process in processes for tid in process.threads()]
        try:
            for tid in threads:
                for ring in self._rings:
                    ring.add_clock(hz, tid, users_only=True)
        except ProbeUnavailable as error:
            raise ProbeUnavailable(
                f"cannot sample which functions run: {error}",
                hint="needs root, CAP_PERFMON, or kernel.perf_event_paranoid of 2 at most",
            ) from None

    def _take(self) -> None:
        for ring in self._rings:
            samples, lost = samples_in(ring.take())
            self.lost |= lost
            self._pending = np.concatenate([self._pending, samples])

    def _use_of(self, target: Target, addresses: NDArray[np.uint64]) -> CpuUse | None:
        if not len(addresses) or not target.pid:
            return None
        counts: Counter[tuple[str, str]] = Counter()
        in_kernel = addresses >= _USER_END
        if in_kernel.any():
            counts[_KERNEL, _KERNEL] = int(in_kernel.sum())
        places, several = np.unique(addresses[~in_kernel].astype(np.int64), return_counts=True)
        names = self._symbols.names(target, places)
        for name, count in zip(names, several.tolist(), strict=True):
            counts[name] += count
        return CpuUse(tuple((*name, count) for name, count in counts.most_common()))


class _Symbols:
    """Names the functions at addresses of processes; each file is read once."""

    def __init__(self) -> None:
        self._tables: dict[str, SymbolTable | None] = {}

    def names(self, target: Target, addresses: NDArray[np.int64]) -> list[tuple[str, str]]:
        """The function at each address, and the file that it is in."""
        mappings = target.mappings
        found = mappings.largest_in(addresses, addresses + 1)
        if (found < 0).any():  # mapped since the monitor looked
            with suppress(OSError):
                mappings = parse_maps(read_maps(target.pid)) or mappings
                found = mappings.largest_in(addresses, addresses + 1)
        return [
            self._name(target.pid, mappings, number, address)
            for number, address in zip(found.tolist(), addresses.tolist(), strict=True)
        ]

    def _name(self, pid: int, mappings: MappingTable, number: int, address: int) -> tuple[str, str]:
        if number < 0:
            return "[unknown]", "[unknown]"
        mapping = mappings.mappings[number]
        offset = address - mapping.start + mapping.offset
        table = self._table(pid, mapping)
        name = table.name_at(offset) if table else ""
        # Without a name, the page tells at least which part of the file ran.
        page = offset // PAGE_SIZE * PAGE_SIZE
        return name or f"{Path(mapping.name).name}+{page:#x}", mapping.name

    def _table(self, pid: int, mapping: Mapping) -> SymbolTable | None:
        """The functions of a mapped file; files of other containers may have the same path."""
        if not mapping.file:
            return None
        key = f"{mapping.file} {mapping.name}"
        if key not in self._tables:
            # The first is the file itself, even if another has its name by now, and needs root.
            places = (f"map_files/{mapping.start:x}-{mapping.end:x}", f"root{mapping.name}")
            tables = (SymbolTable.read(f"/proc/{pid}/{place}") for place in places)
            self._tables[key] = next(filter(None, tables), None)
        return self._tables[key]

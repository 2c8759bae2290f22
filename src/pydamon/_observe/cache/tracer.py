"""The program that traces reads from the page cache: load, attach, read, adjust."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.cache_use import ALL_HASHES, FollowedFolios
from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.cache.layout import (
    CHARGE_MEMCG,
    CHARGE_OBJCG,
    CHARGE_READER,
    CPU,
    FOLLOWED,
    IDLE,
    PLACE,
    REUSE,
    WEIGHT_UNIT,
    Control,
    kernel,
)
from pydamon._observe.probes.ebpf.loader import BpfObject

__all__ = ["FOLLOWED_MOST", "Counters", "Reuses", "Tracer"]

_OBJECT = Path(__file__).with_name("cache.bpf.o")
FOLLOWED_MOST = 32_768
"""How many folios are followed at most: 3 MiB of kernel memory, and 1 % of error for all of them.

The map has room for twice as many: for a burst of new folios.
"""
_REUSES = 16_384
"""Room for cgroups times buckets."""
_PROBED_BYTES = 4096


class Counters(NamedTuple):
    """What the program has counted since it was loaded."""

    seen: int
    sampled: int
    mapped: int
    full: int
    counted: int


class Reuses(NamedTuple):
    """Reads since the last look, by cgroup and bucket: estimates of all, from followed folios."""

    cgroup: NDArray[np.uint64]
    bucket: NDArray[np.int64]
    folios: NDArray[np.float64]
    bytes: NDArray[np.float64]


class Tracer:
    """Follows folios of the page cache by their reads.

    Raises `ProbeUnavailable` if the kernel, or this user's rights, do not allow it.
    """

    def __init__(self, most: int = FOLLOWED_MOST) -> None:
        facts = kernel()
        sizes = {"cpus": _possible_cpus(), "places": 2 * most, "reuses": _REUSES}
        type_ids = {"folio_mark_accessed": facts.function}
        self._object = BpfObject(_OBJECT, sizes, type_ids, facts.fields)
        self._control = Control.from_buffer(self._object.maps["controls"].memory)
        self._cpus = self._object.maps["cpus"].array(CPU)
        self._places = self._object.hash_maps["places"]
        self._reuses = self._object.hash_maps["reuses"]
        self._link: int | None = None
        self._sums: dict[tuple[int, int], tuple[int, int]] = {}
        control = self._control
        control.head, control.swapbacked = facts.head, facts.swapbacked
        control.has_large_mapcount = facts.has_large_mapcount
        control.css_cgroup, control.cgroup_kn = facts.css_cgroup, facts.cgroup_kn
        control.kn_id, control.objcg_memcg = facts.kn_id, facts.objcg_memcg
        control.charge = CHARGE_MEMCG if facts.has_cgroups else CHARGE_READER
        control.page_bytes = mmap.PAGESIZE
        control.threshold, control.weight = ALL_HASHES, WEIGHT_UNIT
        control.limit, control.step = most, most // 4
        self._most = most

    def close(self) -> None:
        """Detach and unload."""
        self.rest()
        self._object.close()

    def start(self) -> None:
        """Attach to the kernel's function; nothing happens if it is attached."""
        if self._link is None:
            try:
                self._link = self._object.programs["on_access"].trace()
            except OSError as error:
                raise ProbeUnavailable(
                    str(error.strerror),
                    hint="tracing functions needs a kernel with CONFIG_DYNAMIC_FTRACE, and "
                    "CAP_BPF and CAP_PERFMON",
                ) from None

    def rest(self) -> None:
        """Detach: reads cost nothing until `start`."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def find_charge(self, cgroups: Iterable[int]) -> None:
        """Find out how this kernel notes who pays for a folio, given the ids of all cgroups.

        The page cache notes a mem_cgroup, or since 7.1 an obj_cgroup that leads to one. A read of
        this package's own file shows which gives a cgroup that exists.
        """
        known = set(cgroups)
        ways = [CHARGE_MEMCG, *([CHARGE_OBJCG] if self._control.objcg_memcg else [])]
        for charge in ways if self._control.charge == CHARGE_MEMCG else ():
            self._control.charge = charge
            self.forget()
            _read_own_file()
            seen = set(self._places.read(PLACE, FOLLOWED)[1]["cgroup"].tolist())
            if seen and seen & known:
                return
        self._control.charge = CHARGE_READER
        self.forget()

    @property
    def charges_reader(self) -> bool:
        """Whether folios count for the cgroup that reads them, not for that which pays."""
        return bool(self._control.charge == CHARGE_READER)

    @property
    def threshold(self) -> int:
        """Folios whose hash lies below it are followed."""
        return int(self._control.threshold)

    @property
    def followed_share(self) -> float:
        """The share of all folios that is followed."""
        return self.threshold / ALL_HASHES

    @property
    def followed(self) -> int:
        """How many folios are followed."""
        return int(self._control.followed)

    @property
    def capacity(self) -> int:
        """How many folios should be followed at most."""
        return self._most

    def counters(self) -> Counters:
        """The counters, summed up over CPUs."""
        return Counters(*(int(self._cpus[name].sum()) for name in Counters._fields))

    def lower(self, threshold: int) -> None:
        """Follow fewer folios from now on, and forget those that are not below the threshold."""
        control = self._control
        control.threshold = max(1, min(threshold, self.threshold))
        control.weight = WEIGHT_UNIT * ALL_HASHES // control.threshold
        self.folios()

    def folios(self) -> FollowedFolios:
        """The followed folios now; forgets those that are followed no more."""
        keys, values = self._places.read(PLACE, FOLLOWED)
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        is_below = keys["hash"] < self.threshold
        self._discard(keys[~is_below])
        keys, values = keys[is_below], values[is_below]
        return FollowedFolios(
            np.maximum(0, now_ns - values["last_ns"].astype(np.int64)),
            values["cgroup"].astype(np.uint64),
            values["bytes"].astype(np.int64),
            self.followed_share,
        )

    def reuses(self) -> Reuses:
        """The reads since the last call."""
        keys, values = self._reuses.read(IDLE, REUSE)
        rows = zip(keys.tolist(), values.tolist(), strict=True)
        sums = {key: (int(folios), int(size)) for key, (folios, size) in rows}
        news = [
            (*key, folios - self._sums.get(key, (0, 0))[0], size - self._sums.get(key, (0, 0))[1])
            for key, (folios, size) in sums.items()
        ]
        self._sums = sums
        if len(sums) > _REUSES // 2:  # cgroups that are gone fill it up
            self._reuses.delete(keys)
            self._sums = {}
        cgroup, bucket, folios, size = zip(*news, strict=True) if news else ((), (), (), ())
        return Reuses(
            np.array(cgroup, np.uint64),
            np.array(bucket, np.int64),
            np.array(folios, np.float64) / WEIGHT_UNIT,
            np.array(size, np.float64) / WEIGHT_UNIT,
        )

    def forget(self) -> None:
        """Forget all folios and reads so far."""
        self._discard(self._places.read(PLACE, FOLLOWED)[0])
        self.reuses()

    def _discard(self, keys: NDArray[Any]) -> None:
        self._places.delete(keys)
        # The program adds at the same time: a lost update of this count heals with the next look.
        self._control.followed = max(0, self.followed - len(keys))
        self._control.limit = max(self._most, self.followed + self._control.step)


def _possible_cpus() -> int:
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(text.replace(",", "-").split("-")[-1]) + 1


def _read_own_file() -> None:
    fd = os.open(_OBJECT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.pread(fd, _PROBED_BYTES, 0)
    finally:
        os.close(fd)

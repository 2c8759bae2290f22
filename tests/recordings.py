"""Small recordings for the tests of what reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pydamon._data.formats.reader import read_recording
from pydamon._data.recording import Recorder, Recording, RecordingInfo
from pydamon._model.attrs import Attrs
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_ages import PageAges, bucket_of
from pydamon._model.snapshot import Cost, Snapshot, Target

__all__ = [
    "BEGIN_NS",
    "MIB",
    "MS",
    "REDIS",
    "WORKER",
    "aged",
    "busy",
    "comparable",
    "info",
    "killed",
    "long_recording",
    "record",
    "snapshot",
    "target",
]

MIB = 2**20
MS = 10**6
BEGIN_NS = 1_750_000_000 * 10**9


def info() -> RecordingInfo:
    """What the recordings of these tests say about themselves."""
    return RecordingInfo.here(Attrs(), "trace", BEGIN_NS, (("redis-server", "--port", "7"),))


def comparable(table: pa.Table) -> pa.Table:
    """A table that equals itself: -1 for NaN, which stands for an unknown error."""
    errors = pc.if_else(pc.is_nan(table["access_share_error"]), -1, table["access_share_error"])
    index = table.column_names.index("access_share_error")
    return table.set_column(index, "access_share_error", errors)


def target(pid: int, name: str, *mappings: tuple[int, int, str, str]) -> Target:
    """A target with mappings."""
    return Target(pid, name, MappingTable(tuple(Mapping(*mapping) for mapping in mappings)))


def snapshot(
    targets: Sequence[Target],
    regions: Sequence[tuple[int, int, int, int, int]],
    number: int = 0,
    *,
    window_ns: int = 100 * MS,
    touched: Sequence[int] | None = None,
    unobservable: Sequence[int] | None = None,
    cost: Cost | None = None,
) -> Snapshot:
    """Aggregation *number*, of regions (target, start, end, nr_accesses, age); 20 samples."""
    columns = np.array(regions, np.int64).reshape(-1, 5).T
    which, start, end, nr_accesses, age = columns
    default = np.where(nr_accesses > 0, end - start, 0)
    return Snapshot(
        BEGIN_NS + number * window_ns,
        BEGIN_NS + (number + 1) * window_ns,
        5 * MS,
        20,
        tuple(targets),
        which.astype(np.int32),
        start,
        end,
        nr_accesses,
        age,
        default if touched is None else np.array(touched, np.int64),
        np.zeros(len(start), np.int64) if unobservable is None else np.array(unobservable),
        cost or Cost(),
    )


def aged(
    of: Snapshot,
    ages: Sequence[tuple[int, int, int, int]],
    *,
    since_ns: int | None = None,
    followed_share: float = 1.0,
) -> Snapshot:
    """The snapshot with ages as of its end: (region, idle ns, resident bytes, returned bytes)."""
    region, idle_ns, resident, returned = np.array(ages, np.int64).reshape(-1, 4).T
    bucket = bucket_of(idle_ns)
    order = np.lexsort((bucket, region))
    return dataclasses.replace(
        of,
        page_ages=PageAges(
            region[order],
            bucket[order],
            resident[order],
            returned[order],
            looked_ns=of.end_ns,
            since_ns=of.start_ns if since_ns is None else since_ns,
            followed_share=followed_share,
        ),
    )


REDIS = target(
    7,
    "redis-server",
    (0x1000, 0x9000, "r-xp", "/usr/bin/redis-server"),
    (0x10_0000, 0x20_0000, "rw-p", "[heap]"),
)
WORKER = target(8, "worker", (0x10_0000, 0x40_0000, "rw-p", "[anon]"))


def busy(count: int) -> list[Snapshot]:
    """Snapshots of two targets with three regions, no two of them alike."""
    return [
        snapshot(
            (REDIS, WORKER),
            [
                (0, 0x1000, 0x9000, number % 21, number),
                (0, 0x10_0000, 0x10_0000 + 0x1000 * (1 + number % 9), 20, number),
                (1, 0x10_0000, 0x40_0000, 0, number),
            ],
            number,
            cost=Cost(number, 2 * number, 1),
        )
        for number in range(count)
    ]


def killed(path: Path, snapshots: Iterable[Snapshot]) -> bytes:
    """What there is of a recording that was not closed: a batch a second."""
    with Recorder(path, info(), force=True) as recorder:
        for each in snapshots:
            recorder.write(each)
        recorder.flush()
        return path.read_bytes()


def record(path: Path, snapshots: Iterable[Snapshot]) -> Recording:
    """Write snapshots to a file and read them back."""
    with Recorder(path, info(), force=True) as recorder:
        for each in snapshots:
            recorder.write(each)
    return read_recording(path)


def long_recording(path: Path, snapshot_count: int) -> Recording:
    """Of one target, with 500 regions a snapshot."""
    regions = [(0, 0x10_0000 + 0x1000 * n, 0x10_1000 + 0x1000 * n, n % 21, n) for n in range(500)]
    return record(path, (snapshot((WORKER,), regions, number) for number in range(snapshot_count)))

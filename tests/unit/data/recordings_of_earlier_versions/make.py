"""Make a tiny recording with the code of an earlier version, and note that version's figures.

    git worktree add --detach /tmp/old COMMIT
    PYTHONPATH=/tmp/old/src python make.py DIRECTORY

The script uses only names that every version has. `test_earlier_versions.py` reads the files.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydamon
from pydamon import Access, Attrs, Mapping, MappingTable, Phase, Recorder, RecordingInfo, Trace

MIB = 1 << 20
MS = 10**6
BEGIN_NS = 1_750_000_000 * 10**9
HEAP, LIBRARY, CACHE = 64 * MIB, 512 * MIB, 256 * MIB
APP = pydamon.Target(
    7,
    "app",
    MappingTable(
        (
            Mapping(HEAP, HEAP + 8 * MIB, "rw-p", "[heap]"),
            Mapping(LIBRARY, LIBRARY + 4 * MIB, "r-xp", "/usr/lib/libc.so.6"),
        )
    ),
)
WORKER = pydamon.Target(
    8, "worker", MappingTable((Mapping(CACHE, CACHE + 4 * MIB, "rw-p", "[anon]"),))
)
CLASSES = ("total", "hot", "warm", "cold", "idle", "unobservable")
TEXTS = ("csv", "ndjson", "json", "perf")
CONVERTED = ("parquet", "data", *TEXTS)


def snapshots(count: int) -> Iterator[pydamon.Snapshot]:
    """Two targets: a hot and a warm part of a heap, a library, and a cache that cools down."""
    busy = Phase(
        600 * MS,
        (
            Access(HEAP, HEAP + 2 * MIB, rate_hz=1000),
            Access(HEAP + 4 * MIB, HEAP + 5 * MIB, rate_hz=40),
            Access(CACHE, CACHE + 3 * MIB, rate_hz=1000, target=1),
        ),
    )
    calm = Phase(10**10, busy.accesses[:2])
    monitor = pydamon.simulate(
        Trace((busy, calm)),
        [(HEAP, HEAP + 8 * MIB), (LIBRARY, LIBRARY + 4 * MIB)],
        [(CACHE, CACHE + 4 * MIB)],
        attrs=Attrs(min_regions=10, max_regions=16),
        seed=1,
    )
    shift_ns = None
    for snapshot in monitor.run(f"{count * 100}ms"):
        shift_ns = BEGIN_NS - snapshot.start_ns if shift_ns is None else shift_ns
        yield dataclasses.replace(
            snapshot,
            start_ns=snapshot.start_ns + shift_ns,
            end_ns=snapshot.end_ns + shift_ns,
            targets=(APP, WORKER),
        )


def figures(recording: Any) -> dict[str, Any]:
    """The summary, the working sets and a heat map, as this version computes them."""
    summary = pydamon.analysis.summary(recording)
    working_set = pydamon.analysis.working_set(recording)
    heat = pydamon.analysis.heatmap(recording, 6, 5, pid=7, addresses="all")
    return {
        "columns": recording.table.column_names,
        "summary": {
            "snapshots": summary.snapshots,
            "duration_ns": summary.duration_ns,
            "idle_ns": summary.idle_ns,
            "targets": [[target.pid, target.name] for target in summary.targets],
            "bytes": {name: getattr(summary.size, name) for name in CLASSES},
            "mappings": [
                [mapping.target.pid, mapping.name, mapping.size.hot, mapping.size.cold]
                for mapping in summary.mappings
            ],
        },
        "working_set": {
            "bytes": working_set.total.size_bytes.tolist(),
            "of_targets": [series.size_bytes.tolist() for series in working_set.targets],
            "percentiles": [list(mark) for mark in working_set.total.percentiles],
        },
        "heatmap": {
            "rates": heat.rates.tolist(),
            "rows": heat.row_addresses.tolist(),
            "times_ns": heat.time_edges.tolist(),
            "names": list(heat.row_names),
        },
    }


def main(folder: Path) -> None:
    """Write the recording, what its recorder leaves when it is killed, and all its conversions."""
    folder.mkdir(exist_ok=True)
    path = folder / "recording.damon"
    info = RecordingInfo(
        Attrs(min_regions=10, max_regions=16),
        "trace",
        BEGIN_NS,
        (("app", "--fast"), ("worker",)),
        kernel="6.1.0",
        hostname="host1",
        pydamon_version="0.1.0",
    )
    with Recorder(path, info) as recorder:
        for snapshot in snapshots(20):
            recorder.write(snapshot)
        recorder.flush()
        (folder / "killed.damon").write_bytes(path.read_bytes())
    recording = pydamon.read_recording(path)
    (folder / "figures.json").write_text(json.dumps(figures(recording), indent=1) + "\n")
    if hasattr(pydamon, "write_recording"):
        for suffix in CONVERTED:
            converted = folder / f"recording.{suffix}"
            pydamon.write_recording(converted, recording)
            if suffix in TEXTS:
                packed = gzip.compress(converted.read_bytes(), mtime=0)
                converted.with_suffix(f".{suffix}.gz").write_bytes(packed)
                converted.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Time and memory of reports, compared with damo on the same data.

    python tools/bench_reports.py [--rows 1000000] [--damo PATH]

It writes made-up regions, 100 a snapshot, in pydamon's format and in damo's (`json_compressed`).
Then it runs each report in a process of its own, and compares the working sets. `--damo` is the
command of damo 3.4.3: `pip install damo==3.4.3` in another environment. It only runs damo's
reports on a file, which do not change the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pydamon import Attrs, Mapping, MappingTable, Recorder, RecordingInfo, Snapshot, Target

PAGE = 4096
REGIONS = 100
START_NS = 1_750_000_000 * 10**9
WINDOW_NS = 10**8
BASE = 0x5500_0000_0000
PERCENTILES = (0, 25, 50, 75, 100)
DAMO_WSS = ("--raw_number", "-r", "0", "101", "25", "--exclude_samples", "0")


@dataclass(frozen=True)
class Cost:
    """Medians over the runs of a command."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str

    def __str__(self) -> str:
        return f"{self.seconds:7.2f} s {self.cpu_seconds:7.2f} s {self.peak_mib:6.0f} MiB"


def snapshots(rows: int) -> Iterator[Snapshot]:
    """Yield snapshots of 100,000 pages in random regions, 40 % of them with random access rates."""
    rng = np.random.default_rng(1)
    heap = Mapping(BASE, BASE + 50_000 * PAGE, "rw-p", "[heap]")
    library = Mapping(BASE + 60_000 * PAGE, BASE + 110_000 * PAGE, "r-xp", "/usr/lib/libfoo.so")
    target = Target(7, "app", MappingTable((heap, library)))
    for number in range(rows // REGIONS):
        edges = [
            np.sort(rng.choice(np.arange(1, 50_000), REGIONS // 2 - 1, replace=False)) + offset
            for offset in (0, 60_000)
        ]
        start = np.concatenate([[0], edges[0], [60_000], edges[1]])
        end = np.concatenate([edges[0], [50_000], edges[1], [110_000]])
        hits = rng.integers(0, 21, REGIONS) * (rng.random(REGIONS) < 0.4)
        size = (end - start) * PAGE
        yield Snapshot(
            start_ns=START_NS + number * WINDOW_NS,
            end_ns=START_NS + (number + 1) * WINDOW_NS,
            sampling_ns=5 * 10**6,
            max_nr_accesses=20,
            targets=(target,),
            target=np.zeros(REGIONS, np.int32),
            start=BASE + start * PAGE,
            end=BASE + end * PAGE,
            nr_accesses=hits,
            age=rng.integers(0, 200, REGIONS),
            touched_bytes=np.where(hits > 0, size, 0),
            unobservable_bytes=np.zeros(REGIONS, np.int64),
        )


def write(rows: int, ours: Path, theirs: Path) -> None:
    """Write the same snapshots in both formats."""
    squeeze = zlib.compressobj()
    with (
        theirs.open("wb") as file,
        Recorder(ours, RecordingInfo.here(Attrs(), "trace", START_NS), force=True) as recorder,
    ):
        intervals = {"sample_us": "5000", "aggr_us": "100000", "ops_update_us": "1000000"}
        goal = dict.fromkeys(("access_bp", "aggrs", "min_sample_us", "max_sample_us"), "0")
        head: dict[str, object] = {
            "kdamond_idx": None,
            "context_idx": None,
            "scheme_idx": None,
            "target_id": 0,
            "intervals": {**intervals, "intervals_goal": goal},
            "scheme_filters": [],
        }
        file.write(squeeze.compress(f'[{json.dumps(head)[:-1]}, "snapshots": ['.encode()))
        for number, snapshot in enumerate(snapshots(rows)):
            recorder.write(snapshot)
            text = (", " if number else "") + json.dumps(_theirs(snapshot))
            file.write(squeeze.compress(text.encode()))
        file.write(squeeze.compress(b'], "data_source": "unknown"}]'))
        file.write(squeeze.flush())


def _theirs(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot in damo's form."""
    columns = (snapshot.start, snapshot.end, snapshot.nr_accesses, snapshot.age)
    return {
        "start_time": str(snapshot.start_ns),
        "end_time": str(snapshot.end_ns),
        "regions": [
            {
                "start": str(start),
                "end": str(end),
                "nr_accesses": {"samples": hits, "percent": None},
                "age": {"usec": None, "aggr_intervals": str(age)},
                "probe_hits": [],
                "sz_filter_passed": "0 B",
            }
            for start, end, hits, age in zip(*(column.tolist() for column in columns), strict=True)
        ],
        "total_bytes": str(int(snapshot.size.sum())),
        "damos_stats": None,
        "sample_interval_us": None,
    }


def measure(command: Sequence[str], runs: int) -> Cost:
    """Run a command several times, and measure whole runs, with their start."""
    seconds, cpu_seconds, peaks, output = [], [], [], ""
    # The first run compiles the modules, as in an installed package.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for run in range(runs + 1 if runs > 1 else 1):
        begin_s = time.monotonic()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if run or runs == 1:
            seconds.append(time.monotonic() - begin_s)
            cpu_seconds.append(usage.ru_utime + usage.ru_stime)
            peaks.append(usage.ru_maxrss / 1024)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed")
    middle = statistics.median
    return Cost(middle(seconds), middle(cpu_seconds), middle(peaks), output)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="of ours; damo runs once")
    parser.add_argument("--damo", help="the command of damo 3.4.3")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = Path(directory) / "r.damon", Path(directory) / "r.json"
        write(args.rows, ours, theirs)
        count = args.rows // REGIONS
        row_bytes = ours.stat().st_size / args.rows
        print(
            f"{args.rows:,} regions, {row_bytes:.1f} bytes each; {theirs.stat().st_size:,} as JSON"
        )
        for_each = f"{'time':>9} {'CPU':>9} {'peak':>10}"
        print(f"{'':8} {'pydamon':>9} {'':20} {'damo':>9} {'':20} {'times as fast':>13}")
        print(f"{'report':8} {for_each} {for_each} {'time':>6} {'CPU':>6}")
        pydamon = (sys.executable, "-m", "pydamon", "report")
        percentiles = ",".join(map(str, PERCENTILES))
        for name, mine, other in (
            ("heatmap", ("--range", "all"), ("--draw_range", "all")),
            ("wss", ("--percentiles", percentiles, "--json"), DAMO_WSS),
            ("access", (), ("--snapshot_idx", str(count - 1), str(count))),
        ):
            cost = measure((*pydamon, name, str(ours), *mine), args.runs)
            line = f"{name:8} {cost}"
            if args.damo:
                peer = measure((args.damo, "report", name, "--input", str(theirs), *other), 1)
                line += f" {peer} {peer.seconds / cost.seconds:6.1f}"
                line += f" {peer.cpu_seconds / cost.cpu_seconds:6.1f}"
            print(line, flush=True)
            same = measure((*pydamon, name, str(theirs), *mine), 1)
            print(f"{'as JSON':>8} {same}", flush=True)
            if name == "wss":
                _compare(cost.output, peer.output if args.damo else "")


def _compare(ours: str, theirs: str) -> None:
    """Print whether the two reports have the same working sets."""
    our_sizes = json.loads(ours)["total"]["percentiles"]
    rows = [line.split() for line in theirs.splitlines() if not line.startswith("#")]
    their_sizes = {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[0] in our_sizes}
    if their_sizes:
        same = our_sizes == their_sizes
        print(f"         the working sets are {'the same' if same else 'NOT the same'}")
        if not same:
            print(f"         {our_sizes}\n         {their_sizes}")


if __name__ == "__main__":
    main()

"""The working sets of a fleet: a report over a directory of recordings, by any query engine.

    pip install 'pydamon[fleet]'
    for file in *.damon; do pydamon convert "$file" "fleet/${file%.damon}.parquet"; done
    python examples/fleet.py fleet

pydamon reads the directory as one recording. DuckDB and Polars are faster on large directories, and
Dask uses several machines. They need nothing of pydamon, because a recording is a table.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["ENGINES", "HostReport"]


class HostReport(NamedTuple):
    """The working sets of the snapshots of a host, in bytes."""

    host: str
    snapshots: int
    median: float
    largest: int


def by_pydamon(folder: Path) -> list[HostReport]:
    """Read the recording in parts, so that memory stays bounded."""
    import numpy as np

    import pydamon

    sizes_by_host: dict[str, list[int]] = {}
    for part in pydamon.open_recording(folder):
        first = part.snapshot_offsets[:-1]
        sizes = np.add.reduceat(part.column("touched_bytes"), first).tolist()
        hosts, codes = part.names("host"), part.codes("host")[first].tolist()
        for code, size in zip(codes, sizes, strict=True):
            sizes_by_host.setdefault(hosts[code], []).append(size)
    return [
        HostReport(host, len(sizes), float(np.median(sizes)), max(sizes))
        for host, sizes in sorted(sizes_by_host.items())
    ]


def by_duckdb(folder: Path) -> list[HostReport]:
    import duckdb

    query = """
        with snapshots as (
            select host, start_ns, end_ns, sum(touched_bytes) as working_set
            from read_parquet(?) group by all
        )
        select host, count(*), median(working_set), max(working_set)
        from snapshots group by host order by host
    """
    rows = duckdb.execute(query, [str(folder / "*.parquet")]).fetchall()
    return [HostReport(host, count, float(median), int(most)) for host, count, median, most in rows]


def by_polars(folder: Path) -> list[HostReport]:
    import polars as pl

    report = (
        pl.scan_parquet(folder / "*.parquet")
        .group_by("host", "start_ns", "end_ns")
        .agg(working_set=pl.col("touched_bytes").sum())
        .group_by(pl.col("host").cast(pl.String))
        .agg(
            snapshots=pl.len(),
            median=pl.col("working_set").median(),
            largest=pl.col("working_set").max(),
        )
        .sort("host")
    )
    return [HostReport(*row) for row in report.collect().rows()]


def by_dask(folder: Path) -> list[HostReport]:
    """Use two workers in this process. `Client("scheduler:8786")` would use those of a cluster."""
    import dask.dataframe as dd
    from distributed import Client

    columns = ["host", "start_ns", "end_ns", "touched_bytes"]
    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    with Client(**workers, dashboard_address=None):  # type: ignore[no-untyped-call]
        regions = dd.read_parquet(str(folder / "*.parquet"), columns=columns)
        regions["host"] = regions["host"].astype("string[pyarrow]")
        snapshots = regions.groupby(["host", "start_ns", "end_ns"]).touched_bytes.sum().compute()
    hosts = snapshots.groupby("host").agg(["count", "median", "max"]).sort_index()
    return [
        HostReport(str(row.Index), int(row.count_), float(row.median), int(row.max))
        for row in hosts.rename(columns={"count": "count_"}).itertuples()
    ]


ENGINES = {"pydamon": by_pydamon, "duckdb": by_duckdb, "polars": by_polars, "dask": by_dask}


def main(folder: Path) -> None:
    """Ask every engine, and print the ten hosts with the largest working sets."""
    reports = {}
    for name, engine in ENGINES.items():
        began = time.perf_counter()
        reports[name] = engine(folder)
        print(f"{name}: {time.perf_counter() - began:.2f} s", file=sys.stderr)
    first = next(iter(reports.values()))
    agree = all(report == first for report in reports.values())
    print("the same numbers" if agree else "THEY DIFFER")
    for host in sorted(first, key=lambda host: -host.largest)[:10]:
        print(
            f"{host.host:20} {host.snapshots:8} snapshots, working set "
            f"{host.median / 2**20:10.1f} MiB, at most {host.largest / 2**20:10.1f} MiB"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Words that options take, of packages that take long to import: help must not wait for them.

Tests compare each with what it stands for.
"""

from __future__ import annotations

__all__ = [
    "ENGINES",
    "FORMATS",
    "HISTOGRAMS",
    "PROBES",
    "PROGRAMS",
    "SORT_KEYS",
    "TEXT_FORMATS",
    "TOOLS",
    "WORKLOADS",
]

ENGINES = ("auto", "kernel", "sampling")
PROBES = ("auto", "ebpf", "refs", "exact", "writes", "softdirty", "idle")
FORMATS = {
    "native": (".damon",),
    "parquet": (".parquet", ".pq"),
    "json_compressed": (".data", ".json_compressed"),
    "json": (".json",),
    "ndjson": (".ndjson", ".jsonl"),
    "csv": (".csv",),
    "perf_script": (".perf", ".txt"),
}
TEXT_FORMATS = ("json", "ndjson", "csv", "perf_script")
HISTOGRAMS = ("rate", "age", "idle", "temperature", "size")
SORT_KEYS = ("temperature", "size", "rate", "age", "touched", "address", "mapping", "target")
TOOLS = ("pydamon", "plain", "refs", "exact", "kernel")
WORKLOADS = (
    *("stairs", "zigzag", "moving", "hotspot", "hotspots", "gradient", "sparse", "uniform"),
    *("phases", "huge", "shared", "files", "churn", "threads", "tlb"),
)
PROGRAMS = (
    *("redis-hot", "redis-scattered", "redis-uniform", "postgres-hot", "postgres-uniform"),
    *("numpy", "sqlite"),
)

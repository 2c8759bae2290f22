"""Real programs as targets, with a load that stays the same: a line here for each."""

from __future__ import annotations

from pydamon._bench.programs.base import Program, Script
from pydamon._bench.programs.servers import Postgres, Redis

__all__ = ["PROGRAMS", "Program"]

_ALL: tuple[Program, ...] = (
    Redis("redis-hot", "10,000 of 300,000 values, side by side, have 90 % of the load", "hot"),
    Redis("redis-scattered", "the same, with those 10,000 all over the memory", "scattered"),
    Redis("redis-uniform", "300,000 values, each as likely as any other", "uniform"),
    Postgres(
        "postgres-hot", "pgbench, 10 clients: 10,000 of 1,500,000 rows have 90 % of the load", 0.9
    ),
    Postgres("postgres-uniform", "pgbench, 10 clients: each row as likely as any other", 0.0),
    Script("numpy", "gradient descent on a quarter of 256 MiB", "numpy_training.py"),
    Script("sqlite", "5,000 of 200,000 rows have 90 % of the load", "sqlite_queries.py"),
)

PROGRAMS: dict[str, Program] = {program.name: program for program in _ALL}
"""Every program by name."""

"""Real programs with a constant load: a line here for each."""

from __future__ import annotations

from pydamon._bench.programs.base import Program, Script
from pydamon._bench.programs.servers import Postgres, Redis

__all__ = ["PROGRAMS", "Program"]

_ALL: tuple[Program, ...] = (
    Redis("redis-hot", "10,000 adjacent values of 300,000 get 90 % of the load", "hot"),
    Redis(
        "redis-scattered", "10,000 scattered values of 300,000 get 90 % of the load", "scattered"
    ),
    Redis("redis-uniform", "300,000 values with equal load", "uniform"),
    Postgres(
        "postgres-hot", "pgbench, 10 clients: 10,000 of 1,500,000 rows get 90 % of the load", 0.9
    ),
    Postgres("postgres-uniform", "pgbench, 10 clients: all rows get equal load", 0.0),
    Script("numpy", "gradient descent on a quarter of 256 MiB", "numpy_training.py"),
    Script("sqlite", "5,000 of 200,000 rows get 90 % of the load", "sqlite_queries.py"),
)

PROGRAMS: dict[str, Program] = {program.name: program for program in _ALL}
"""All programs by name."""

"""Programs with every kind of memory, and commands that print what they find."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pydamon._cli.main import main
from pydamon._model.snapshot import Snapshot
from tests.recordings import MIB, snapshot, target

__all__ = [
    "FILES",
    "GIB",
    "IDLE_NS",
    "JAVA",
    "POSTGRES",
    "S",
    "both",
    "java",
    "printed",
    "shifted",
    "with_columns",
]

FILES = Path(__file__).parent

GIB, S = 2**30, 10**9
IDLE_NS = 10 * S
JAVA = target(
    7,
    "java",
    (GIB, 17 * GIB, "rw-p", "[heap]"),
    (20 * GIB, 20 * GIB + 64 * MIB, "r-xp", "/usr/lib/libjvm.so"),
    (21 * GIB, 22 * GIB, "rw-p", "[anon]"),
)
POSTGRES = target(8, "postgres", (GIB, 2 * GIB, "rw-s", "/dev/zero"))


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The output of a command."""
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def shifted(snapshots: Sequence[Snapshot], by_ns: int) -> list[Snapshot]:
    """The same snapshots, later by some time."""
    return [
        dataclasses.replace(each, start_ns=each.start_ns + by_ns, end_ns=each.end_ns + by_ns)
        for each in snapshots
    ]


def with_columns(taken: Snapshot, **columns: list[int]) -> Snapshot:
    """The snapshot with other values in some columns."""
    arrays = {name: np.array(values, np.int64) for name, values in columns.items()}
    return dataclasses.replace(taken, **arrays)  # type: ignore[arg-type]


def java(number: int = 0) -> Snapshot:
    """16 GiB reserved of which 160 MiB are there, a library, and memory that has just come."""
    taken = snapshot(
        (JAVA,),
        [
            (0, GIB, GIB + 64 * MIB, 20, number),
            (0, GIB + 64 * MIB, GIB + 128 * MIB, 4, number),
            (0, GIB + 128 * MIB, 17 * GIB, 0, number),
            (0, 20 * GIB, 20 * GIB + 64 * MIB, 0, number),
            (0, 21 * GIB, 22 * GIB, 0, 0),
        ],
        number,
        window_ns=S,
        touched=[60 * MIB, 16 * MIB, 0, 0, 0],
        unobservable=[0, 0, 0, 8 * MIB, 0],
    )
    return with_columns(
        taken,
        resident_bytes=[64 * MIB, 64 * MIB, 32 * MIB, 20 * MIB, 100 * MIB],
        unseen_bytes=[0, 0, 0, 0, 100 * MIB],
        age_ns=[30 * S, 30 * S, 25 * S, 7 * S, 0],
    )


def both(number: int = 0) -> Snapshot:
    """Two programs that share 40 MiB."""
    taken = snapshot(
        (JAVA, POSTGRES),
        [(0, 21 * GIB, 21 * GIB + 64 * MIB, 0, 9), (1, GIB, 2 * GIB, 20, 9)],
        number,
        touched=[0, 30 * MIB],
    )
    return with_columns(
        taken,
        resident_bytes=[64 * MIB, 60 * MIB],
        repeated_bytes=[0, 40 * MIB],
        age_ns=[30 * S, 30 * S],
    )

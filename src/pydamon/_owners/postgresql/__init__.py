"""Owners from a running PostgreSQL: which table, index and database fills its shared buffers.

The server is asked while a recording is written, because buffers change what they hold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError
from pydamon._model.mappings import Mapping
from pydamon._model.owners import OwnedInterval, Owners
from pydamon._model.units import format_size
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._owners.as_user import user_of
from pydamon._owners.history import OwnerHistory
from pydamon._owners.inside import pids_outside
from pydamon._owners.postgresql.layout import (
    FREE,
    buffer_owners,
    main_segment,
    other_shared_memory,
)
from pydamon._owners.postgresql.session import Backend, Session, dsn_of

__all__ = ["PostgresqlWatch", "watch"]


def watch(pids: Sequence[int], dsn: str) -> PostgresqlWatch:
    """Connect to the server that these processes belong to.

    Raises
    ------
    TargetError
        If they are no PostgreSQL, or it refuses.
    UsageError
        If the package psycopg is missing.
    """
    return PostgresqlWatch(_postmaster(pids), dsn)


def _postmaster(pids: Sequence[int]) -> int:
    """The first process that runs in a data directory of PostgreSQL, and is its postmaster."""
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cwd/postmaster.pid").read_text().split()
        except OSError:
            continue
        if words:
            return pid
    raise TargetError(
        "none of these processes is the postmaster of a PostgreSQL",
        hint="name the first pid of its data directory's postmaster.pid, as the same user or root",
    )


class PostgresqlWatch:
    """Asks a server again and again which relation each buffer holds."""

    def __init__(self, postmaster: int, dsn: str) -> None:
        self._postmaster = postmaster
        self._buffers = OwnerHistory()
        self._local: dict[int, OwnerHistory] = {}
        self._began = 0
        mappings = parse_maps(read_maps(postmaster))
        with ExitStack() as stack:
            self._session = stack.enter_context(
                closing(Session(dsn or dsn_of(postmaster), user_of(postmaster)))
            )
            segment = main_segment(mappings, self._session.allocations)
            if segment is None:
                raise TargetError(
                    f"the shared memory of process {postmaster} is not where PostgreSQL says",
                    hint="is the connection one to the same server?",
                )
            self._segment: Mapping = segment
            self._sessions = self._session.connections()
            stack.pop_all()

    def observe(self, pids: Sequence[int]) -> None:
        """Take a snapshot of the buffers and of the processes' own memory."""
        time_ns = time.time_ns()
        session = self._session
        buffers = session.buffers()
        names = session.names_for(buffers)
        owners = buffer_owners(
            buffers, names, self._segment, session.allocations, session.block_bytes
        )
        self._buffers.add(time_ns, owners)
        self._began = max(0, session.connections() - self._sessions)
        self._observe_processes(time_ns, pids)

    def owners(self) -> list[Owners]:
        """The owners so far: of the memory that all processes share, and of each process."""
        pids = tuple(self._local)
        buffers = self._buffers.owners(pids=pids, is_shared=True, notes=self._notes())
        is_held = np.array([path[-1] != FREE for path in buffers.paths], bool)[buffers.owner]
        held = replace(_rows_of(buffers, is_held), stays_resident=True)
        other = Owners.of(
            other_shared_memory(self._segment, self._session.allocations),
            pids=pids,
            is_shared=True,
        )
        local = [history.owners(pids=[pid]) for pid, history in self._local.items()]
        return [held, _rows_of(buffers, ~is_held), other, *local]

    def forget(self, before_ns: int) -> None:
        """Drop what ended before a time."""
        self._buffers.forget(before_ns)
        self._local = {
            pid: history for pid, history in self._local.items() if history.last_ns >= before_ns
        }
        for history in self._local.values():
            history.forget(before_ns)

    def close(self) -> None:
        """Disconnect."""
        self._session.close()

    def _notes(self) -> list[str]:
        """How much the buffers changed between snapshots, and whose accesses may be missing."""
        changes = max(1, self._buffers.snapshots - 1)
        mean = self._buffers.changed_bytes // changes
        notes = [
            f"PostgreSQL: {self._buffers.snapshots} snapshots of the shared buffers;"
            f" {format_size(mean)} held something else at the next one, on average"
        ]
        if self._began:
            notes.append(
                f"PostgreSQL: {self._began} connections began meanwhile: what they used right"
                " before they ended was not seen"
            )
        return notes

    def _observe_processes(self, time_ns: int, pids: Sequence[int]) -> None:
        outside = pids_outside(self._postmaster, pids)
        told = ((outside(backend.pid), backend) for backend in self._session.backends())
        for pid, backend in [(self._postmaster, Backend(0, "postmaster", "")), *told]:
            if pid is None:
                continue
            try:
                mappings = parse_maps(read_maps(pid)).mappings
            except OSError:  # it ended
                continue
            label = " ".join(filter(None, [f"process {pid}", backend.client]))
            rows = [
                OwnedInterval(
                    ("process memory", backend.kind, label, mapping.name),
                    mapping.start,
                    mapping.end,
                )
                for mapping in mappings
                if mapping.perms.startswith("rw-p")
            ]
            history = self._local.setdefault(pid, OwnerHistory())
            history.add(time_ns, Owners.of(rows))


def _rows_of(owners: Owners, chosen: NDArray[np.bool_]) -> Owners:
    """Some of the intervals."""
    names = ("start", "end", "owner", "since_ns", "until_ns")
    return replace(owners, **{name: getattr(owners, name)[chosen] for name in names})

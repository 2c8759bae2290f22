"""Tests of histories of owners and of their files; private names, because both are private."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import PydamonError
from pydamon._model.owners import MemoryView
from pydamon._owners.history import OwnerHistory
from pydamon._owners.store import owners_file, read_owners, saved_beside, write_owners
from pydamon.owners import OwnedInterval, Owners

SNAPSHOTS = st.lists(st.dictionaries(st.integers(0, 8), st.sampled_from("abc")), min_size=1)


def held(owners: Owners, time_ns: int) -> dict[int, str]:
    ranges = owners.at(time_ns)
    rows = zip(ranges.start.tolist(), ranges.owner.tolist(), strict=True)
    return {start // 10: owners.paths[owner][0] for start, owner in rows}


@given(SNAPSHOTS)
def test_each_snapshot_is_true_until_the_next(snapshots: list[dict[int, str]]) -> None:
    history = OwnerHistory()
    for number, snapshot in enumerate(snapshots):
        rows = [
            OwnedInterval((label,), place * 10, place * 10 + 10)
            for place, label in snapshot.items()
        ]
        history.add(100 * (number + 1), Owners.of(rows))
    owners = history.owners()
    for number, snapshot in enumerate(snapshots):
        assert held(owners, 100 * (number + 1)) == snapshot
        assert held(owners, 100 * (number + 1) + 99) == snapshot


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.sampled_from("ab"))),
        min_size=1,
    )
)
def test_memory_belongs_to_its_owner_for_as_long_as_it_does(
    snapshots: list[list[tuple[int, int, str]]],
) -> None:
    history = OwnerHistory()
    since: dict[tuple[int, str], int] = {}
    for number, wanted in enumerate(snapshots):
        snapshot: dict[int, tuple[int, str]] = {}
        place = 0
        for gap, length, label in wanted:
            snapshot[place + gap] = length, label
            place += gap + length
        rows = [OwnedInterval((label,), at, at + n) for at, (n, label) in snapshot.items()]
        history.add(100 * number, Owners.of(rows))
        units = {(at + i, label) for at, (n, label) in snapshot.items() for i in range(n)}
        since = {unit: since.get(unit, 100 * number) for unit in units}
    ranges, paths = history.owners().at(100 * number), history.owners().paths
    told = {
        (unit, paths[owner][0]): since_ns
        for start, end, owner, since_ns in zip(*(c.tolist() for c in ranges), strict=True)
        for unit in range(start, end)
    }
    assert told == since


def test_what_stays_is_one_interval_since_the_beginning() -> None:
    history = OwnerHistory()
    for time_ns in (100, 200, 300):
        history.add(time_ns, Owners.of([OwnedInterval(("a",), 0, 10)]))
    owners = history.owners()
    assert len(owners) == 1
    assert owners.at(1).start.tolist() == [0]
    assert history.changed_bytes == 0


def test_rows_that_are_told_twice_count_once() -> None:
    history = OwnerHistory()
    row = OwnedInterval(("a",), 0, 10)
    for time_ns in (100, 200):
        history.add(time_ns, Owners.of([row, row, OwnedInterval(("b",), 20, 30)]))
    assert history.owners().at(200).start.tolist() == [0, 20]
    assert history.owners().at(150).since_ns.tolist() == [0, 0]


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "x.owners"
    shared = Owners.of(
        [OwnedInterval(("a", "b"), 0, 10, 5, 6), OwnedInterval(("a",), 20, 30)],
        pids=[3, 4],
        is_shared=True,
        notes=["x"],
    )
    empty = Owners.of([])
    write_owners(path, [shared, empty])
    write_owners(path, [shared, empty])
    first, second = read_owners(path)
    for name in ("paths", "pids", "is_shared", "stays_resident", "containers", "views", "notes"):
        assert getattr(first, name) == getattr(shared, name)
    for name in ("start", "end", "owner", "since_ns", "until_ns"):
        assert np.array_equal(getattr(first, name), getattr(shared, name))
    assert len(second) == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_flags_and_views_are_kept(tmp_path: Path) -> None:
    from dataclasses import replace

    owners = replace(
        Owners.of([OwnedInterval(("a",), 0, 10)]),
        stays_resident=True,
        containers=frozenset([0]),
        views=(MemoryView(100, 200, 0),),
    )
    write_owners(tmp_path / "x", [owners])
    (back,) = read_owners(tmp_path / "x")
    assert back.stays_resident
    assert back.containers == {0}
    assert back.views == owners.views


@pytest.mark.parametrize("content", [b"", b"hello", b"ARROW1\0\0" + bytes(100)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.owners"
    path.write_bytes(content)
    with pytest.raises(PydamonError, match="no file of owners"):
        read_owners(path)


DAMAGES = {
    "paths": [[None]],
    "pids": None,
    "containers": [1],
    "views": [[1, 2]],
    "start": [0, 10],
    "end": [2**63],
    "owner": [-1],
    "since_ns": [None],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.owners"
    write_owners(path, [Owners.of([OwnedInterval(("a",), 0, 10)])])
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    place = table.schema.get_field_index(name)
    field = table.schema.field(name)
    damaged = table.set_column(place, field, pa.array([DAMAGES[name]], field.type))
    with path.open("wb") as file, pa.ipc.new_file(file, damaged.schema) as writer:
        writer.write_table(damaged)
    with pytest.raises(PydamonError, match="no file of owners"):
        read_owners(path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.owners"
    write_owners(path, [Owners.of([])])
    table = pa.ipc.open_file(path.read_bytes()).read_all().drop_columns(["views"])
    with path.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(PydamonError, match="no file of owners"):
        read_owners(path)


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "x.owners"
    write_owners(path, [Owners.of([OwnedInterval(("files", "a\udcff"), 0, 10)])])
    assert read_owners(path)[0].paths == (("files", "a\\udcff"),)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.owners"]


def test_files_beside_a_recording(tmp_path: Path) -> None:
    recording = tmp_path / "run.damon"
    path = owners_file(recording, "jvm")
    path.touch()
    (tmp_path / "other.damon.jvm.owners").touch()
    assert saved_beside(recording) == [path]

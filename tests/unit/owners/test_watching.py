"""Tests of asking while a recording is written; private names, because the recorder is private."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pydamon import PydamonError, TargetError
from pydamon._owners import watching
from pydamon._owners.store import read_owners
from pydamon._owners.watching import OwnersRecorder, OwnerWatch, watch_named
from pydamon.owners import OwnedInterval, Owners


class Watch:
    """A provider that counts its snapshots, and takes some time for them."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.closed = False

    def observe(self, pids: Sequence[int]) -> None:
        self.times.append(time.monotonic())

    def owners(self) -> list[Owners]:
        return [Owners.of([OwnedInterval((f"{len(self.times)} snapshots",), 0, 10)])]

    def forget(self, before_ns: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def path_in(folder: Path) -> tuple[Path, Path]:
    return folder / "x.damon", folder / "x.damon.proc.owners"


def test_snapshots_at_the_beginning_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    monkeypatch.setattr(watching, "watch_named", lambda *_: watch)
    recording, path = path_in(tmp_path)
    with OwnersRecorder(["proc"], recording, lambda: [1]) as recorder:
        assert len(watch.times) == 1
        assert path.exists()
    assert watch.closed
    assert recorder.failures == []
    assert read_owners(path)[0].paths == (("2 snapshots",),)


def test_programs_that_are_about_to_begin_are_asked_as_soon_as_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, tries = Watch(), []

    def open_later(choice: str, _: Sequence[int]) -> OwnerWatch:
        tries.append(choice)
        if len(tries) < 2:
            raise TargetError("not yet")
        return watch

    monkeypatch.setattr(watching, "watch_named", open_later)
    monkeypatch.setattr(watching, "_RETRY_S", 0.0)
    with OwnersRecorder(["proc"], path_in(tmp_path)[0], lambda: [1], waits=True) as recorder:
        while not watch.times:
            time.sleep(0.05)
    assert recorder.failures == []


def test_a_provider_that_never_answers_is_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> OwnerWatch:
        raise TargetError("none of these is a JVM")

    monkeypatch.setattr(watching, "watch_named", refuse)
    with OwnersRecorder(["jvm=x"], path_in(tmp_path)[0], lambda: [1], waits=True) as recorder:
        pass
    assert recorder.failures == ["no owners from jvm: none of these is a JVM"]


def test_a_running_program_that_cannot_be_asked_is_an_error_at_once(tmp_path: Path) -> None:
    recorder = OwnersRecorder(["jvm"], path_in(tmp_path)[0], lambda: [])
    with pytest.raises(PydamonError, match="Java Virtual Machine"), recorder:
        pass


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    recording, path = path_in(tmp_path)
    path.touch()
    with pytest.raises(PydamonError, match="exists"), OwnersRecorder(["proc"], recording, list):
        pass


@pytest.mark.parametrize("choice", ["memray", "heaptrack", "nothing", ""])
def test_only_some_providers_tell_owners_while_recording(choice: str) -> None:
    with pytest.raises(PydamonError, match="while a recording is written"):
        watch_named(choice, [])


def test_an_unknown_provider_is_an_error_before_the_program_begins(tmp_path: Path) -> None:
    recorder = OwnersRecorder(["prok"], path_in(tmp_path)[0], lambda: [1], waits=True)
    with pytest.raises(PydamonError, match="'prok'"), recorder:
        pass


def test_a_provider_that_refuses_leaves_no_other_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()

    def open_first(choice: str, _: Sequence[int]) -> OwnerWatch:
        if choice == "jvm":
            raise TargetError("none of these is a JVM")
        return watch

    monkeypatch.setattr(watching, "watch_named", open_first)
    recorder = OwnersRecorder(["proc", "jvm"], path_in(tmp_path)[0], lambda: [1])
    with pytest.raises(TargetError), recorder:
        pass
    assert watch.closed


def test_a_provider_is_named_once(tmp_path: Path) -> None:
    recorder = OwnersRecorder(["jvm=a", "jvm=b"], path_in(tmp_path)[0], lambda: [1], waits=True)
    with pytest.raises(PydamonError, match="jvm is named twice"), recorder:
        pass

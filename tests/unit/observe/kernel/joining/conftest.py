"""What joins kdamonds of somebody else's, on a machine that the test makes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.observe.kernel.fake import NEW, FakeFiles
from tests.unit.observe.kernel.joining.foreign import (
    EVENTS,
    READERS,
    FakeReader,
    Joining,
    made,
)


@pytest.fixture(autouse=True)
def _fake_events(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("pydamon._observe.kernel.join.EventReader", FakeReader)
    monkeypatch.setattr("pydamon._observe.kernel.join._SHORTEST_SLEEP_NS", 0)
    monkeypatch.setattr("pydamon._observe.kernel.join._LONGEST_SLEEP_NS", 0)
    yield
    EVENTS.clear()
    READERS.clear()


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path / "kdamonds", NEW)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc without kernel threads."""
    return made(tmp_path / "proc")


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A /sys/module without DAMON's."""
    return made(tmp_path / "module")


@pytest.fixture
def joining(files: FakeFiles, modules: Path, proc: Path) -> Joining:
    return Joining(files, modules, proc)

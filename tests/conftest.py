"""No test is timed: a busy machine is no failure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pydamon import ProbeUnavailable
from pydamon._observe.kernel.claim import check_free
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.kernel.reader import EventReader
from tests.unit.observe.kernel.conftest import FREE, kdamonds

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_HERE = Path(__file__).parent
_LONG = ("test_commands.py", "test_odd_programs.py", "test_schemes.py", "test_targets.py")
_LIVE = tuple(_HERE / name for name in ("integration", "vm"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test that watches a real process another try.

    What else runs on the machine changes what such a test sees, but a defect is still there at
    the next try. The summary names what was tried again.
    """
    for item in items:
        if any(item.path.is_relative_to(place) for place in _LIVE):
            item.add_marker(pytest.mark.live)
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.flaky(reruns=2))
            if item.path.is_relative_to(_HERE / "integration/bench") or item.path.name in _LONG:
                item.add_marker(pytest.mark.long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a test was tried again."""
    for report in terminalreporter.stats.get("rerun", ()):
        lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
        terminalreporter.write_line(f"tried again: {report.nodeid}: {' '.join(lines[:3])}")


@pytest.fixture(scope="session", autouse=True)
def _an_event_stays_open() -> Iterator[None]:
    """In the virtual machine, the first event is opened once, and the last one closed once.

    Each time the kernel patches its scheduler, and emulated CPUs do not always survive that.
    """
    with ExitStack() as stack:
        if os.environ.get("PYDAMON_VM") == "1":
            with suppress(ProbeUnavailable):  # Linux 6.1 has no DAMON
                stack.enter_context(EventReader(os.getpid(), 1))
        yield


@pytest.fixture(autouse=True)
def _the_machines_damon_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is somebody's, or will be: only in the virtual machine do tests drive the kernel's own."""
    if FREE:
        return

    def check(files: Files | None = None, *others: Path) -> None:
        if files is None or files.root == ADMIN:
            raise ProbeUnavailable("tests leave this machine's DAMON alone")
        check_free(files, *others)

    monkeypatch.setattr("pydamon._observe.kernel.open.check_free", check)
    monkeypatch.setattr("pydamon._observe.kernel.claim.check_free", check)


@pytest.fixture(autouse=True)
def _no_kdamond_is_left() -> Iterator[None]:
    """Neither by what ended nor by what was killed: its guardian needs a moment."""
    yield
    deadline_s = time.monotonic() + 20
    while FREE and kdamonds():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)

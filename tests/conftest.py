"""KdamondSettings and fixtures of all tests. No test has a time limit, because machines are shared.

Private names: these fixtures keep tests away from the kernel's DAMON of this machine, and there is
no public switch for that.
"""

from __future__ import annotations

import os
import signal
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

_UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", _UNTIMED)
settings.register_profile("quick", _UNTIMED, max_examples=40)
settings.load_profile("quick")

_HERE = Path(__file__).parent
_LIVE = tuple(_HERE / name for name in ("integration", "vm"))
_LONG = tuple(
    _HERE / "integration" / name
    for name in (
        "bench",
        "test_commands.py",
        "test_odd_programs.py",
        "test_schemes.py",
        "test_targets.py",
    )
)
"""Live tests for `make test-live` only. Single tests have the marker `long` themselves."""


def pytest_configure() -> None:
    """Let tests send signals: a shell lets what it starts in the background ignore some."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their place, and let live tests run up to three times.

    Other programs on the machine change the results of a live test, but a defect fails every time.
    The summary names the tests that ran again.
    """
    for item in items:
        if any(item.path.is_relative_to(place) for place in _LIVE):
            item.add_marker(pytest.mark.live)
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.flaky(reruns=2))
            if any(item.path.is_relative_to(place) for place in _LONG):
                item.add_marker(pytest.mark.long)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why a test ran again."""
    for report in terminalreporter.stats.get("rerun", ()):
        lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
        terminalreporter.write_line(f"ran again: {report.nodeid}: {' '.join(lines[:3])}")


@pytest.fixture(scope="session", autouse=True)
def _an_event_stays_open() -> Iterator[None]:
    """Keep an event open for the whole session in the virtual machine.

    The kernel patches its scheduler when the first event opens and when the last event closes, and
    emulated CPUs do not always survive that.
    """
    with ExitStack() as stack:
        if os.environ.get("PYDAMON_VM") == "1":
            with suppress(ProbeUnavailable):  # Linux 6.1 has no DAMON
                stack.enter_context(EventReader(os.getpid(), 1))
        yield


@pytest.fixture(autouse=True)
def _the_machines_damon_stays_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests use the kernel's DAMON in the virtual machine only: here it may have a user."""
    if FREE:
        return

    def check(files: Files | None = None, *others: Path) -> None:
        if files is None or files.root == ADMIN:
            raise ProbeUnavailable("tests do not touch the DAMON of this machine")
        check_free(files, *others)

    monkeypatch.setattr("pydamon._observe.kernel.monitor.check_free", check)
    monkeypatch.setattr("pydamon._observe.kernel.claim.check_free", check)
    monkeypatch.setattr("pydamon._observe.kernel.running.ADMIN", Path("/nonexistent"))


@pytest.fixture(autouse=True)
def _no_kdamond_is_left() -> Iterator[None]:
    """Wait until no kdamond runs: the guardian of a killed monitor needs a moment."""
    yield
    deadline_s = time.monotonic() + 20
    while FREE and kdamonds():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)

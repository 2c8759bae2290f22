"""A pytest plugin: limits on the working set of tests, and the idle memory of a test run.

@pytest.mark.working_set(limit="100MiB")
def test_it(): ...

pytest --pydamon-idle
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# pytest loads this at every start: pydamon is imported when a test asks for it.
if TYPE_CHECKING:
    from pydamon._objects import ObjectReport, Watch

__all__: list[str] = []

_MAX_OBJECTS = 10
_IDLE_STATES = ("cold", "untouched")
_WATCH: pytest.StashKey[Watch] = pytest.StashKey()
_REPORT: pytest.StashKey[ObjectReport] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--pydamon-idle`."""
    parser.getgroup("pydamon").addoption(
        "--pydamon-idle",
        action="store_true",
        help="show the largest objects that the test run holds, but does not use",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "working_set(limit): fail the test if it touches more memory than that, as in '100MiB'",
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Measure a test that has the marker."""
    marker = pyfuncitem.get_closest_marker("working_set")
    if marker is None:
        return (yield)
    from pydamon._model.units import format_size, parse_size  # noqa: PLC0415

    try:
        limit = parse_size(_limit(*marker.args, **marker.kwargs))
    except (TypeError, ValueError) as error:
        text = f"the marker working_set wants a limit, as in '100MiB': {error}"
        raise pytest.fail.Exception(text, pytrace=False) from None
    initial_rss_bytes = _begin()
    result = yield
    touched_bytes = _touched_bytes(initial_rss_bytes)
    if touched_bytes > limit:
        touched, most = format_size(touched_bytes), format_size(limit)
        pytest.fail(f"the working set was {touched}, more than the limit of {most}", pytrace=False)
    return result


def _limit(limit: str | int) -> str | int:
    return limit


def _begin() -> int:
    """Clear accessed bits and the peak of the resident set; return the resident bytes."""
    for word in (b"1", b"5"):  # accessed bits; the peak (proc(5))
        Path("/proc/self/clear_refs").write_bytes(word)
    return _status("VmRSS")


def _touched_bytes(initial_rss_bytes: int) -> int:
    """Bytes touched since `_begin`: resident memory, and memory that came and went."""
    rollup = Path("/proc/self/smaps_rollup").read_bytes()
    referenced = re.search(rb"^Referenced:\s+(\d+) kB", rollup, re.MULTILINE)
    assert referenced is not None
    gone_bytes = _status("VmHWM") - max(initial_rss_bytes, _status("VmRSS"))
    return 1024 * int(referenced[1]) + max(0, gone_bytes)


def _status(key: str) -> int:
    status = Path("/proc/self/status").read_bytes()
    line = re.search(rb"^%b:\s+(\d+) kB" % key.encode(), status, re.MULTILINE)
    assert line is not None
    return 1024 * int(line[1])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start to watch, if asked to: by now the modules hold their objects."""
    if session.config.getoption("--pydamon-idle") and not hasattr(session.config, "workerinput"):
        from pydamon._model.errors import PydamonError  # noqa: PLC0415
        from pydamon._objects import Watch  # noqa: PLC0415

        try:
            session.config.stash[_WATCH] = Watch(lambda: _variables(session.config))
        except PydamonError as error:
            raise pytest.UsageError(f"--pydamon-idle: {error}") from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Look at the objects before the fixtures of the last test go."""
    if nextitem is None and (watch := item.config.stash.get(_WATCH, None)):
        item.config.stash[_REPORT] = watch.report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the watch, even after an error."""
    if watch := session.config.stash.get(_WATCH, None):
        watch.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the largest idle objects."""
    if not config.getoption("--pydamon-idle"):
        return
    report = config.stash.get(_REPORT, None)
    terminalreporter.section("idle memory (pydamon)")
    if report is None:
        terminalreporter.line("no test was run")
        return
    from pydamon._model.units import format_duration, format_size  # noqa: PLC0415

    idle = sorted((row for row in report if row.state in _IDLE_STATES), key=lambda row: -row.size)
    total = format_size(sum(row.size for row in idle))
    terminalreporter.line(
        f"{total} in {len(idle)} object{'s' * (len(idle) != 1)}, in windows of "
        f"{format_duration(report.window_ns)} ({report.probe})"
    )
    if unknown := report.named("unknown"):
        terminalreporter.line(
            f"{format_size(report.bytes_of('unknown'))} in {len(unknown)} objects that came too "
            f"late, or are too small, for the {report.probe} probe"
        )
    for row in idle[:_MAX_OBJECTS]:
        since = "" if row.idle_ns is None else f"idle for {format_duration(row.idle_ns)}"
        label = f"{row.buffer.kind}  {row.name}"
        terminalreporter.line(f"{format_size(row.size):>12}  {since or 'untouched':<18}  {label}")


def _variables(config: pytest.Config) -> dict[str, Any]:
    """The variables of the modules below pytest's root directory."""
    variables = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(config.rootpath) and "site-packages" not in file:
            variables.update({f"{name}.{key}": value for key, value in vars(module).items()})
    return variables

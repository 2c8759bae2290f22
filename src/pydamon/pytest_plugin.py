"""pytest: limits on the working set and the idle memory of a test, and the idle memory of a run.

The plugin is there when pydamon is installed. The marker `working_set` fails a test that touches
more memory than its limit; the marker `idle_memory` fails one that leaves more than its limit
allocated below a function, but idle. The option `--pydamon-idle` watches the whole run, and lists
the objects with most memory that it holds but does not use.

Examples
--------
>>> import pathlib, subprocess, sys, tempfile
>>> test = '''
... import pytest
...
... @pytest.mark.working_set(limit="500MiB")
... def test_it():
...     assert len(bytes(1 << 20)) == 1 << 20
... '''
>>> with tempfile.TemporaryDirectory() as directory:
...     file = pathlib.Path(directory, "test_it.py")
...     _ = file.write_text(test)
...     command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
...     subprocess.run(command, capture_output=True, cwd=directory).returncode
0
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pytest

# pytest loads this at every start, so slow modules are imported where a test asks for them.
if TYPE_CHECKING:
    from pydamon._data.analysis import OwnerReport
    from pydamon._model.errors import PydamonError
    from pydamon._objects import ObjectReport, ObjectUse, Watch
    from pydamon._owners.own_process import AllocationWatch, IdleAllocations

__all__: list[str] = []

_MOST = 10
_IDLE_STATES = ("cold", "untouched")
_WATCH: pytest.StashKey[Watch] = pytest.StashKey()
_SUMMARY: pytest.StashKey[list[str]] = pytest.StashKey()
_ALLOCATIONS: pytest.StashKey[AllocationWatch] = pytest.StashKey()
_MOST_STACKS = 3


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
    config.addinivalue_line(
        "markers",
        "idle_memory(function, limit, idle_for='1s'): fail the test if it leaves more memory than "
        "that allocated below a function, without an access for that time",
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Measure a test that has the marker."""
    marker = pyfuncitem.get_closest_marker("working_set")
    if marker is None:
        return (yield)
    from pydamon._model.units import format_size  # noqa: PLC0415

    limit_bytes = _limit_bytes(marker)
    resident_bytes = _reset()
    result = yield
    used_bytes = _touched_bytes(resident_bytes)
    if used_bytes > limit_bytes:
        pytest.fail(
            f"the working set was {format_size(used_bytes)}, "
            f"more than the limit of {format_size(limit_bytes)}",
            pytrace=False,
        )
    return result


def _limit_bytes(marker: pytest.Mark) -> int:
    """The limit of a marker; fails the test where it is no size."""
    from pydamon._model.units import parse_size  # noqa: PLC0415

    def only_limit(limit: str | int) -> str | int:
        return limit

    try:
        return parse_size(only_limit(*marker.args, **marker.kwargs))
    except (TypeError, ValueError) as error:
        _fail(f"the marker working_set wants a limit, as in '100MiB': {error}")


def _fail(text: str) -> NoReturn:
    raise pytest.fail.Exception(text, pytrace=False) from None


def _reset() -> int:
    """Clear the accessed bits and the peak of the resident set; returns the resident bytes."""
    for command in (b"1", b"5"):  # accessed bits; the peak (proc(5))
        Path("/proc/self/clear_refs").write_bytes(command)
    return _status_bytes("VmRSS")


def _touched_bytes(resident_bytes: int) -> int:
    """Bytes touched since `_reset`: pages that are there, and pages that came and went.

    Pages that went show in a peak above the resident set before and after.
    """
    rollup = Path("/proc/self/smaps_rollup").read_bytes()
    referenced = re.search(rb"^Referenced:\s+(\d+) kB", rollup, re.MULTILINE)
    assert referenced is not None
    gone_bytes = _status_bytes("VmHWM") - max(resident_bytes, _status_bytes("VmRSS"))
    return 1024 * int(referenced[1]) + max(0, gone_bytes)


def _status_bytes(key: str) -> int:
    status = Path("/proc/self/status").read_bytes()
    match = re.search(rb"^%b:\s+(\d+) kB" % key.encode(), status, re.MULTILINE)
    assert match is not None
    return 1024 * int(match[1])


def _fail_unchecked(error: PydamonError) -> NoReturn:
    hint = f" ({error.hint})" if error.hint else ""
    _fail(f"the marker idle_memory cannot be checked: {error}{hint}")


class _IdleLimit(NamedTuple):
    """A marker `idle_memory`."""

    function: str
    limit_bytes: int
    idle_ns: int

    @classmethod
    def of(cls, marker: pytest.Mark) -> _IdleLimit:
        """The limit of a marker; fails the test where it makes no sense."""
        from pydamon._model.units import parse_duration_ns, parse_size  # noqa: PLC0415

        def parsed(function: str, limit: str | int, idle_for: str = "1s") -> _IdleLimit:
            return cls(str(function), parse_size(limit), parse_duration_ns(idle_for))

        try:
            return parsed(*marker.args, **marker.kwargs)
        except (TypeError, ValueError) as error:
            _fail(
                "the marker idle_memory wants a function and a limit, as in "
                f"idle_memory('load_catalogue', limit='10MiB', idle_for='2s'): {error}"
            )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Track the allocations of a test that has the marker `idle_memory`, with its fixtures."""
    limits = [_IdleLimit.of(marker) for marker in item.iter_markers("idle_memory")]
    if not limits:
        return
    from pydamon._model.errors import PydamonError  # noqa: PLC0415
    from pydamon._owners.own_process import AllocationWatch  # noqa: PLC0415

    try:
        item.stash[_ALLOCATIONS] = AllocationWatch()
    except PydamonError as error:
        _fail_unchecked(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check the marker `idle_memory` when the test has passed, and its fixtures still live."""
    result = yield
    watch = item.stash.get(_ALLOCATIONS, None)
    if watch is not None:
        from pydamon._model.errors import PydamonError  # noqa: PLC0415

        limits = [_IdleLimit.of(marker) for marker in item.iter_markers("idle_memory")]
        try:
            found = watch.finish()
            for limit in limits:
                _check_idle(limit, found)
        except PydamonError as error:
            _fail_unchecked(error)
    return result


def _check_idle(limit: _IdleLimit, found: IdleAllocations) -> None:
    """Fail the test if a function has more idle memory than its limit."""
    from pydamon._model.units import format_duration, format_size  # noqa: PLC0415

    idle_for = format_duration(limit.idle_ns)
    if found.duration_ns < limit.idle_ns:
        took = format_duration(found.duration_ns)
        _fail(f"the test took {took}: too short to tell what is idle for {idle_for}")
    if not found.has(limit.function):
        warnings.warn(
            f"idle_memory: nothing was allocated below {limit.function!r} in this test",
            pytest.PytestWarning,
            stacklevel=1,
        )
    uses = found.below(limit.function, limit.idle_ns)
    idle_bytes = sum(use.idle_bytes for use in uses)
    if idle_bytes > limit.limit_bytes:
        lines = [
            f"{format_size(idle_bytes)} that {limit.function} allocated are idle for {idle_for}, "
            f"more than the limit of {format_size(limit.limit_bytes)}"
        ]
        lines += [
            f"{format_size(use.idle_bytes):>12}  {' < '.join(use.path[:-3:-1])}"
            for use in uses[:_MOST_STACKS]
        ]
        _fail("\n".join(lines))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start to watch if `--pydamon-idle` asks for it: the objects of all modules exist by now."""
    if session.config.getoption("--pydamon-idle") and not hasattr(session.config, "workerinput"):
        from pydamon._model.errors import PydamonError  # noqa: PLC0415
        from pydamon._objects import Watch  # noqa: PLC0415

        try:
            session.config.stash[_WATCH] = Watch(lambda: _variables(session.config), probe="pages")
        except PydamonError as error:
            raise pytest.UsageError(f"--pydamon-idle: {error}") from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Make the report before the fixtures of the last test are freed."""
    if allocations := item.stash.get(_ALLOCATIONS, None):
        allocations.close()
    if nextitem is None and (watch := item.config.stash.get(_WATCH, None)):
        item.config.stash[_SUMMARY] = list(_summary(watch))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the watch, whatever happened."""
    if watch := session.config.stash.get(_WATCH, None):
        watch.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List the idle objects."""
    if not config.getoption("--pydamon-idle"):
        return
    terminalreporter.section("idle memory (pydamon)")
    for line in config.stash.get(_SUMMARY, ["no test was run"]):
        terminalreporter.line(line)


def _summary(watch: Watch) -> Iterator[str]:
    """The objects with most idle memory: by the ages of their pages, or else as whole objects."""
    from pydamon._data import analysis  # noqa: PLC0415
    from pydamon._model.errors import RecordingError  # noqa: PLC0415

    try:
        idle_ns = analysis.summary(watch.recording).idle_ns
        idle = analysis.owners(watch.recording, watch.owners, idle_ns=idle_ns)
    except RecordingError as error:
        return iter([str(error)])
    return _idle_pages(idle) if idle.is_by_page else _idle_objects(watch.report)


def _idle_pages(report: OwnerReport) -> Iterator[str]:
    from pydamon._model.units import format_duration, format_size  # noqa: PLC0415

    idle = [use for use in report.owners if use.idle_bytes]
    yield (
        f"{format_size(report.total().idle_bytes)} idle for {format_duration(report.idle_ns)} in "
        f"{len(idle)} object{'s' * (len(idle) != 1)}"
    )
    for use in idle[:_MOST]:
        of = f"of {format_size(use.allocated_bytes)}"
        yield f"{format_size(use.idle_bytes):>12}  {of:<18}  {'  '.join(use.path)}"


def _idle_objects(report: ObjectReport) -> Iterator[str]:
    from pydamon._model.units import format_duration, format_size  # noqa: PLC0415

    idle = sorted((use for use in report if use.state in _IDLE_STATES), key=lambda use: -use.size)
    total = format_size(sum(use.size for use in idle))
    yield (
        f"{total} in {len(idle)} object{'s' * (len(idle) != 1)}, in windows of "
        f"{format_duration(report.window_ns)} ({report.probe})"
    )
    if unknown := report.named("unknown"):
        yield (
            f"{format_size(report.bytes_of('unknown'))} in {len(unknown)} objects that came too "
            f"late, or are too small, for the {report.probe} probe"
        )
    for use in idle[:_MOST]:
        object_text = f"{use.buffer.kind}  {use.name}"
        yield f"{format_size(use.size):>12}  {_since(use):<18}  {object_text}"


def _since(use: ObjectUse) -> str:
    from pydamon._model.units import format_duration  # noqa: PLC0415

    return "untouched" if use.idle_ns is None else f"idle for {format_duration(use.idle_ns)}"


def _variables(config: pytest.Config) -> dict[str, Any]:
    """The variables of the modules below pytest's root directory."""
    variables = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(config.rootpath) and "site-packages" not in file:
            variables.update({f"{name}.{key}": value for key, value in vars(module).items()})
    return variables

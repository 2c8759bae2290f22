"""Files of events of the kernel's DAMON: written, cut off, read, and summed up."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydamon
from pydamon import KernelEvents, RecordingError, analysis
from pydamon._data.formats.events import read_events
from pydamon._data.recording.events import EventRecorder, events_beside
from pydamon._observe.kernel import tracing as kernel_tracing
from pydamon._record import tracing

FIELDS = ("scheme_idx", "start", "end", "nr_accesses", "esz", "sample_us")


def events(name: str, times: list[int], **values: list[int]) -> KernelEvents:
    columns = {field: np.array(column, np.int64) for field, column in values.items()}
    return KernelEvents(name, np.array(times, np.int64), np.full(len(times), 41), columns)


def write(path: Path, *batches: KernelEvents) -> Path:
    with EventRecorder(path, FIELDS) as recorder:
        for batch in batches:
            recorder.write([batch])
    return path


APPLIED = events(
    "damos_before_apply",
    [10, 30, 20],
    scheme_idx=[0, 1, 0],
    start=[0, 4096, 8192],
    end=[4096, 12288, 8192 + 3 * 4096],
    nr_accesses=[1, 2, 3],
)
QUOTAS = events("damos_esz", [15, 25], scheme_idx=[0, 0], esz=[100, 300])
TUNED = events("damon_monitor_intervals_tune", [5], sample_us=[5000])


def test_events_come_back_by_time(tmp_path: Path) -> None:
    table = read_events(write(tmp_path / "e", APPLIED, QUOTAS, TUNED))
    assert table["time_ns"].to_pylist() == [5, 10, 15, 20, 25, 30]
    assert table["esz"].to_pylist() == [None, None, 100, None, 300, None]


def test_sums_are_by_tracepoint_and_scheme(tmp_path: Path) -> None:
    trace = analysis.trace(write(tmp_path / "e", APPLIED, QUOTAS, TUNED))
    assert (trace.start_ns, trace.end_ns) == (5, 30)
    named = {(sums.event, sums.scheme): sums for sums in trace.sums}
    assert [key[0] for key in named] == sorted(key[0] for key in named)
    first = named["damos_before_apply", 0]
    assert (first.count, first.first_ns, first.last_ns) == (2, 10, 20)
    size = first.fields["sz_region"]
    assert (size.first, size.last, size.least, size.most) == (4096, 3 * 4096, 4096, 3 * 4096)
    assert first.fields["nr_accesses"].mean == 2
    assert named["damos_esz", 0].fields["esz"].last == 300
    assert set(named["damon_monitor_intervals_tune", None].fields) == {"sample_us"}


def test_a_recording_has_its_events_beside_it(tmp_path: Path) -> None:
    recording = tmp_path / "app.damon"
    write(events_beside(recording), QUOTAS)
    assert analysis.trace(recording).sums[0].event == "damos_esz"


def test_a_file_that_is_cut_off_has_the_events_before(tmp_path: Path) -> None:
    path = tmp_path / "e"
    recorder = EventRecorder(path, FIELDS)
    recorder.write([APPLIED])
    recorder.flush()
    recorder.write([QUOTAS])
    recorder.flush()
    recorder.close()
    data = path.read_bytes()
    counts = []
    for length in range(0, len(data) + 1, 8):
        path.write_bytes(data[:length])
        try:
            counts.append(len(read_events(path)))
        except RecordingError:
            counts.append(-1)
    assert counts == sorted(counts)
    assert {0, 3, 5} <= set(counts)


def _no_key(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file:
        pa.ipc.new_stream(file, pa.schema([("a", pa.int64())])).close()


def _wrong_types(path: Path) -> None:
    schema = pa.schema([("time_ns", pa.string())]).with_metadata({b"pydamon.events": b"1"})
    with pa.OSFile(str(path), "wb") as file:
        pa.ipc.new_stream(file, schema).close()


def _no_events(path: Path) -> None:
    write(path)


def _rows(path: Path, *rows: dict[str, object]) -> None:
    kinds = {"time_ns": pa.int64(), "kdamond": pa.int32(), "event": pa.string()}
    schema = pa.schema(kinds).with_metadata({b"pydamon.events": b"1"})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema, options=options) as to:
        to.write_batch(pa.RecordBatch.from_pylist(rows, schema))


def _without_times(path: Path) -> None:
    _rows(path, {"time_ns": None, "kdamond": 1, "event": "damos_esz"})


def _without_a_name(path: Path) -> None:
    _rows(path, {"time_ns": 1, "kdamond": 1, "event": None})


def _a_name_of_200_mib(path: Path) -> None:
    _rows(path, {"time_ns": 1, "kdamond": 1, "event": "x" * (200 << 20)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"hello"), "not a file of events"),
        (lambda path: path.write_bytes(b""), "not a file of events"),
        (_no_key, "without events"),
        (_wrong_types, "not a file of events"),
        (_no_events, "has no events"),
        (_without_times, "has no events"),
        (_without_a_name, "has no events"),
        (_a_name_of_200_mib, "has no events"),
        (lambda path: path.mkdir(), "cannot read"),
        (lambda _: None, "there is no file"),
    ],
)
def test_other_files_are_one_error(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "e"
    make(path)
    with pytest.raises(RecordingError, match=message):
        analysis.trace(path)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_are_one_error_or_fewer_events(damage: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory, "e"), APPLIED, QUOTAS)
        data = bytearray(path.read_bytes())
        for at, byte in damage:
            data[at % len(data)] = byte
        path.write_bytes(data)
        with suppress(RecordingError):
            assert sum(sums.count for sums in analysis.trace(path).sums) <= 5


def test_a_full_disk_is_an_error_of_the_recording() -> None:
    with pytest.raises(RecordingError, match="cannot write /dev/full: No space"):
        EventRecorder("/dev/full", FIELDS, force=True)


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "e", QUOTAS)
    with pytest.raises(RecordingError, match="exists already"):
        EventRecorder(path, FIELDS)
    EventRecorder(path, FIELDS, force=True).close()
    assert len(read_events(path)) == 0


class _Overrun:
    """A tracer whose events came too fast."""

    fields = FIELDS
    lost = True

    def __enter__(self) -> _Overrun:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> list[KernelEvents]:
        return [QUOTAS]


def test_a_recording_without_all_events_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_tracing, "KernelTracer", _Overrun)
    path = tmp_path / "app.damon"
    mon = cast("pydamon.Monitor", SimpleNamespace(engine="kernel"))
    with caplog.at_level(logging.WARNING, "pydamon"), tracing(mon, path) as write_events:
        write_events()
    assert len(read_events(events_beside(path))) == 4
    assert caplog.messages == [
        f"{path}.events lacks events: they came faster than they could be read"
    ]


def test_only_the_kernels_engine_has_events(tmp_path: Path) -> None:
    with pytest.raises(pydamon.UsageError, match="only the kernel"):
        pydamon.record("sleep 5", tmp_path / "a.damon", engine="sampling", trace=True)
    assert not list(tmp_path.iterdir())

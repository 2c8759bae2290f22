"""Reports of recordings that are read in parts: the same numbers, in memory that does not grow."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._data.formats.output import write_recording
from pydamon._data.recording import AnyRecording, Recording, RecordingFile
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Cost
from tests.recordings import busy, info, long_recording, record

ANALYSES: dict[str, Callable[[AnyRecording], Any]] = {
    "summary": analysis.summary,
    "regions": analysis.regions,
    "first regions": lambda recording: analysis.regions(recording, 1),
    "last regions": lambda recording: analysis.regions(recording, -2),
    "heatmap": lambda recording: analysis.heatmap(recording, 7, 5, addresses="all", pid=7),
    "working_set": analysis.working_set,
    "footprint": analysis.footprint,
    "idle": analysis.idle,
    "mappings": analysis.mappings,
    "rates": analysis.distribution,
    "ages": lambda recording: analysis.distribution(recording, "idle"),
    "diff": lambda recording: analysis.diff(recording, recording),
}
FILTERS = ("", "rate > 20%", "time >= 500ms and pid = 7", "mapping = [heap] or size > 1MiB")


class Parts(RecordingFile):
    """A recording in parts, as often as it is asked for."""

    def __init__(self, parts: Sequence[Recording], *, ordered: bool = True) -> None:
        self.path, self.info, self.ordered = "parts", info(), ordered
        self._parts = parts

    def __iter__(self) -> Iterator[Recording]:
        yield from self._parts


def numbers_in(result: Any) -> Any:
    """A result as lists and numbers."""
    if dataclasses.is_dataclass(result):
        return [numbers_in(getattr(result, field.name)) for field in dataclasses.fields(result)]
    if isinstance(result, tuple | list):
        return list(map(numbers_in, result))
    return result.tolist() if isinstance(result, np.ndarray) else result


def assert_same(actual: Any, expected: Any) -> None:
    if isinstance(expected, list):
        assert len(actual) == len(expected)
        for first, second in zip(actual, expected, strict=True):
            assert_same(first, second)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-9, nan_ok=True)
    else:
        assert actual == expected


@pytest.mark.long
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_parts_say_what_the_whole_says(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count, as_damo = data.draw(st.integers(2, 25)), data.draw(st.booleans())
    # damo's files do not know what monitoring cost.
    taken = [dataclasses.replace(each, cost=Cost()) if as_damo else each for each in busy(count)]
    whole = record(tmp_path_factory.mktemp("parts") / "r.damon", taken)
    part_of = np.sort(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    pieces = [whole.pick_snapshots(part_of == n) for n in np.unique(part_of)]
    parts = Parts(pieces)
    if as_damo:  # a target after the other
        targets = [piece.of_pid(pid) for pid in (7, 8) for piece in pieces]
        parts = Parts(targets, ordered=False)
    query = data.draw(st.sampled_from(FILTERS))
    first: Recording = analysis.where(whole, query) if query else whole
    second: RecordingFile = analysis.where(parts, query) if query else parts
    for name in data.draw(st.lists(st.sampled_from(list(ANALYSES)), min_size=3, unique=True)):
        try:
            expected = numbers_in(ANALYSES[name](first))
        except RecordingError as error:
            with pytest.raises(RecordingError, match=str(error)):
                ANALYSES[name](second)
        else:
            assert_same(numbers_in(ANALYSES[name](second)), expected)


@pytest.mark.long
def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Ten times as many regions, of which a whole in memory would take 200 MB."""
    short = long_recording(tmp_path / "one.damon", 300)
    window_ns = int(short.per_snapshot("end_ns")[-1] - short.per_snapshot("start_ns")[0])

    def later(times: int) -> Recording:
        table = short.table
        for name in ("start_ns", "end_ns"):
            column = pa.array(short.column(name) + times * window_ns)
            index = table.schema.get_field_index(name)
            table = table.set_column(index, table.schema.field(index), column)
        return Recording(short.info, table)

    peaks = []
    for name, count in (("one", 1), ("ten", 10)):
        path = tmp_path / f"{name}.damon"
        write_recording(path, Parts(list(map(later, range(count)))), force=True)
        peaks.append(_peak_bytes(path))
    assert peaks[1] < 1.3 * peaks[0]


def _peak_bytes(path: Path) -> int:
    """The most memory that a process takes for one report after the other."""
    script = (
        "import sys\n"
        "from pydamon._cli.main import main\n"
        "for report in ('summary', 'access', 'heatmap', 'idle'):\n"
        "    assert main(['report', report, sys.argv[1]]) == 0\n"
        "assert main(['report', 'access', '--histogram', 'age', sys.argv[1]]) == 0\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss * 1024

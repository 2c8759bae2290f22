"""Functions that ran, in recordings: every format keeps them, and nonsense is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

import pydamon
from pydamon import CpuUse, Recording, RecordingError, Snapshot, analysis
from pydamon._data.formats.output import write_recording
from pydamon._data.recording.cpu_use import use_of_words, use_words
from tests.recordings import REDIS, WORKER, snapshot

REGIONS = [(0, 0x1000, 0x9000, 5, 1), (0, 0x10_0000, 0x20_0000, 0, 4), (1, 0x1000, 0x2000, 0, 2)]
FIRST = CpuUse((("memcpy", "/usr/lib/libc.so.6", 3), ("a b\n\"'<é", "/x\udcff", 1)))
SECOND = CpuUse((("memcpy", "/usr/lib/libc.so.6", 4),))


def snapshots() -> list[Snapshot]:
    plain = [snapshot((REDIS, WORKER), REGIONS, number) for number in range(3)]
    return [
        replace(plain[0], cpu_use=(FIRST, None)),
        plain[1],
        replace(plain[2], cpu_use=(SECOND, SECOND)),
    ]


@pytest.mark.parametrize("name", ["native", "parquet", "csv", "ndjson"])
def test_every_format_keeps_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out"
    assert write_recording(path, Recording.from_snapshots(snapshots()), format=name) == ()
    first, second, third = pydamon.read_recording(path).snapshots()
    assert first.cpu_use[0] is not None
    assert first.cpu_use[0].functions[0] == FIRST.functions[0]
    assert first.cpu_use[0].functions[1][1] == "/x\\udcff"
    assert (first.cpu_use[1], second.cpu_use) == (None, ())
    assert third.cpu_use == (SECOND, SECOND)
    assert third.of_target(1).cpu_use == (SECOND,)


def test_formats_without_them_say_so(tmp_path: Path) -> None:
    lost = write_recording(tmp_path / "a.data", Recording.from_snapshots(snapshots()))
    assert "cpu_use" in lost


def test_functions_are_summed_and_compared_with_times() -> None:
    recording = Recording.from_snapshots(snapshots())
    ran = analysis.functions(recording)
    assert ran.samples_inside == 12
    assert (ran.functions[0].function, ran.functions[0].inside) == ("memcpy", 11 / 12)
    assert not analysis.functions(Recording.from_snapshots(snapshots()[1:2])).functions
    last_ns = int(recording.per_snapshot("start_ns")[-1])
    late = analysis.times(recording.slice(start_ns=last_ns))
    times = replace(late, begin_ns=int(recording.per_snapshot("start_ns")[0]))
    profile = analysis.profile(times, analysis.recorded_samples(recording))
    assert (profile.samples_inside, profile.samples_outside) == (8, 4)


def test_many_functions_are_cut() -> None:
    many = CpuUse(tuple((f"f{number}", "/x", 1) for number in range(1000)))
    (word, empty) = use_words([(many, 2)])
    use = use_of_words([word, empty])
    assert use is not None
    assert (use.samples, len(use.functions), use.functions[-1][0]) == (1000, 301, "[others]")
    assert use_words([(many, 0), (None, 1)]) == [""]


@pytest.mark.parametrize("word", ["[", "{}", '[["a","b"]]', '[["a","b",0]]', '[["a","b",-1]]'])
def test_nonsense_is_refused(word: str) -> None:
    with pytest.raises(RecordingError, match="make no sense"):
        use_of_words([word])


LINE = "app 7 100.000000001: cpu-clock:  4005d0 "


@pytest.mark.parametrize(
    ("text", "function", "file"),
    [
        ("main+0x10 (/usr/bin/app)", "main", "/usr/bin/app"),
        ("sort(int, int (*)(int)) (/x)", "sort(int, int (*)(int))", "/x"),
        ("operator()+0x1 (/memfd:a (deleted))", "operator()", "/memfd:a (deleted)"),
        ("[unknown] ([unknown])", "[unknown]", "[unknown]"),
    ],
)
def test_names_in_output_of_perf(tmp_path: Path, text: str, function: str, file: str) -> None:
    path = tmp_path / "samples.txt"
    path.write_text(f"{LINE}{text}\n")
    (sample,) = analysis.read_cpu_samples(path)
    assert (sample.function, sample.file) == (function, file)


def test_samples_come_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe")
    writer = Thread(target=path.write_text, args=(f"{LINE}main (/x)\n" * 1000,))
    writer.start()
    assert len([*analysis.read_cpu_samples(path)]) == 1000
    writer.join()


@pytest.mark.parametrize("text", [LINE.replace("100.", "9223372037."), "a" * 5_000_000])
def test_samples_that_cannot_be_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "samples.txt"
    path.write_text(text)
    with pytest.raises(RecordingError, match="cannot read"):
        list(analysis.read_cpu_samples(path))


def test_a_line_takes_no_more_time_than_it_is_long(tmp_path: Path) -> None:
    path = tmp_path / "samples.txt"
    path.write_text(LINE + "a (+0x1" * 50_000)  # minutes, if each parenthesis is tried with each
    assert list(analysis.read_cpu_samples(path)) == []

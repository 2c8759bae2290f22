"""Files as other tools write them: `tests/unit/cases` holds small ones that once failed."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from pydamon import analysis
from pydamon._cli.main import main
from pydamon._data.formats import FORMATS
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording, read_recording
from pydamon._data.recording import Recording
from pydamon._model.damo_values import bytes_of, ns_of, number_of
from pydamon._model.errors import PydamonError, RecordingError
from tests.recordings import MIB, busy, record

CASES = Path(__file__).parents[1] / "cases"
TEXTS = ["csv", "ndjson", "json", "perf_script"]
INTERVALS = {"sample_us": "5000", "aggr_us": "100000", "ops_update_us": "1000000"}


def damo(*records: tuple[Any, list[dict[str, Any]]], **more: Any) -> bytes:
    """damo's JSON: of each record its target's id and the regions of its one snapshot."""
    return json.dumps(
        [
            {
                "intervals": INTERVALS,
                "target_id": target_id,
                "snapshots": [
                    {"start_time": "1000", "end_time": "100001000", "regions": regions} | more
                ],
            }
            for target_id, regions in records
        ]
    ).encode()


def region(**changed: Any) -> dict[str, Any]:
    """A region of damo's; `samples` and `age` stand for what is inside of it."""
    samples, age = changed.pop("samples", 3), changed.pop("age", 2)
    return {
        "start": 4096,
        "end": 8192,
        "nr_accesses": {"samples": samples, "percent": None},
        "age": {"usec": None, "aggr_intervals": age},
    } | changed


def refusal(path: Path, content: bytes) -> str:
    """What is said of a file, of which nothing is read."""
    path.write_bytes(content)
    try:
        recording = read_recording(path)
    except RecordingError as error:
        return str(error)
    assert len(recording) == 0
    return recording.problem


@pytest.mark.parametrize("name", ["ps_crlf.txt", "ps_tracecmd.txt", "ps_probe_hits.txt"])
def test_lines_of_other_tracers_are_read(name: str) -> None:
    recording = read_recording(CASES / name)
    assert recording.complete
    assert len(recording) == 10
    assert recording.column("start").tolist()[:2] == [16 * MIB, 32 * MIB]
    assert recording.column("nr_accesses").tolist()[:2] == [20, 0]
    assert recording.column("age").tolist()[:2] == [1, 5]


def test_what_a_newer_kernel_says_of_a_region_is_written_again(tmp_path: Path) -> None:
    path = CASES / "ps_probe_hits.txt"
    write_recording(tmp_path / "r.perf", read_recording(path))
    written = (tmp_path / "r.perf").read_text().splitlines()
    assert written == [line.strip() for line in path.read_text().splitlines()]


FTRACE = """# tracer: nop
#
# entries-in-buffer/entries-written: 2/2   #P:2
#
#                                _-----=> irqs-off/BH-disabled
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
       kdamond.0-4452    [000] .....   100.1: damon_aggregated: target_id=0 nr_regions=1 0-4096: 7 1
           <...>-9       [001] d..2.   100.15: sched_switch: prev_comm=x
CPU:1 [LOST 3 EVENTS]
       kdamond.0-4452    [001] .....   100.2: damon_aggregated: target_id=0 nr_regions=1 0-4096: 8 2
"""
BARE = """
  100.100000: damon:damon_aggregated: target_id=0 nr_regions=1 0-4096: 7 1
  100.200000: damon:damon_aggregated: target_id=0 nr_regions=1 0-4096: 8 2
"""
ADDRESSED = """
k 1/2 [0] 100.1: damon:damon_aggregated: target_id=0 nr_regions=1 0-4096: 7 1 ffffffff81 f ([k])
k 1/2 [0] 100.2: damon:damon_aggregated: target_id=0 nr_regions=1 0-4096: 8 2 ffffffff81 f ([k])
"""


@pytest.mark.parametrize("text", [FTRACE, BARE, ADDRESSED])
def test_other_fields_around_an_aggregation_are_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    recording = read_recording(tmp_path / "t")
    assert recording.complete
    assert recording.column("nr_accesses").tolist() == [7, 8]
    assert recording.column("end_ns").tolist() == [100_100_000_000, 100_200_000_000]


def test_lines_that_say_too_little_are_refused_by_what_they_lack(tmp_path: Path) -> None:
    lines = b"damon:damon_aggregated: target_id=0 nr_regions=1 0-4096: 7 1\n"
    assert "no time" in refusal(tmp_path / "t", lines)
    events = b"swapper 0 [000] 100.100000: sched:sched_switch: prev_comm=x\n"
    assert "no aggregations" in refusal(tmp_path / "t", events)
    cut = b"k 1 [0] 1.0: damon:damon_aggregated: target_id=0 nr_regions=1 0-40: 7 1\n" + lines[:40]
    (tmp_path / "t").write_bytes(cut + b"damon_aggregated: nonsense\n")
    assert "line 2" in read_recording(tmp_path / "t").problem


def utf16(text: bytes) -> bytes:
    return text.decode().encode("utf-16")


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="bom"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(
            lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"), id="bom and crlf"
        ),
        pytest.param(utf16, id="utf-16"),
        pytest.param(lambda text: b"\r\n\n  \n" + text, id="blank lines"),
        pytest.param(lambda text: b"# by a tool\n#\n\n" + text, id="comments"),
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(lambda text: gzip.compress(text) + gzip.compress(b"\n"), id="gzip twice"),
        pytest.param(lambda text: pa.compress(text, "zstd", asbytes=True), id="zstd"),
    ],
)
def test_texts_are_read_as_other_tools_store_them(
    tmp_path: Path, name: str, changed: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "r"
    write_recording(path, record(tmp_path / "r.damon", busy(12)), format=name)
    sound = read_recording(path)
    path.write_bytes(changed(path.read_bytes()))
    changed_recording = read_recording(path)
    assert changed_recording.complete
    assert changed_recording.info == sound.info
    assert changed_recording.table.to_pylist() == sound.table.to_pylist()


@pytest.mark.parametrize("name", ["native", "json_compressed"])
def test_any_format_may_be_compressed_as_a_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / "r"
    write_recording(path, record(tmp_path / "r.damon", busy(12)), format=name)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(read_recording(path)) == 12
    path.write_bytes(path.read_bytes()[:-300])
    assert "cut off" in read_recording(path).problem


def test_a_byte_order_mark_before_damos_json() -> None:
    assert len(read_recording(CASES / "bom.json")) == 10


def test_a_pipe_may_hold_what_a_file_may(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "bom.json.gz"
    path.write_bytes(gzip.compress((CASES / "bom.json").read_bytes()))
    with subprocess.Popen(["/bin/sh", "-c", f"cat {path} > {tmp_path / 'pipe'}"]):
        assert len(read_recording(tmp_path / "pipe")) == 10


def test_columns_may_be_separated_as_spreadsheets_do(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(3))
    write_recording(tmp_path / "r.csv", recording)
    for separator in ";\t":
        frame = pl.read_csv(tmp_path / "r.csv").drop("pydamon")
        frame.write_csv(tmp_path / "x.csv", separator=separator)
        copy = read_recording(tmp_path / "x.csv")
        assert copy.column("start").tolist() == recording.column("start").tolist()


def test_targets_have_the_numbers_that_damo_gave_them(tmp_path: Path) -> None:
    recording = read_recording(CASES / "target_0_1.json")
    assert [(each.pid, each.name) for each in recording.targets] == [
        (0, "target 0"),
        (1, "target 1"),
    ]
    write_recording(tmp_path / "r.perf", recording)
    write_recording(tmp_path / "r.data", read_recording(tmp_path / "r.perf"))
    for copy in map(read_recording, (tmp_path / "r.perf", tmp_path / "r.data")):
        assert [each.pid for each in copy.targets] == [0, 1]
        for pid in (0, 1):
            touched = analysis.working_set(copy.of_pid(pid)).total.size_bytes
            ours = analysis.working_set(recording.of_pid(pid)).total.size_bytes
            assert touched.tolist() == ours.tolist()


def test_a_target_without_a_number_gets_one_that_no_other_has(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(
        damo((None, [region()]), (0, [region()]), (2**60, [region()]), (1, [region()]))
    )
    assert {each.pid: each.name for each in read_recording(path).targets} == {
        0: "target 0",
        1: "target 1",
        2: "",
        3: f"target {2**60}",
    }
    event = "k 1 [0] {}.0: damon:damon_aggregated: target_id={} nr_regions=1 0-4096: 1 1\n"
    path.write_text(event.format(1, 2**60) + event.format(1, 0))
    pids = {each.name: each.pid for each in read_recording(path).targets}
    assert pids == {f"target {2**60}": 1, "target 0": 0}


def test_a_scheme_lists_the_regions_of_several_targets(tmp_path: Path) -> None:
    path = CASES / "tried_regions_two_targets.json"
    recording = read_recording(path)
    assert recording.complete
    assert [each.pid for each in recording.targets] == [0, 1]
    assert analysis.working_set(recording).total.size_bytes.tolist() == [MIB + MIB // 2]
    write_recording(tmp_path / "r.json", recording)
    (record_again,) = json.loads((tmp_path / "r.json").read_bytes())
    (theirs,) = json.loads(path.read_bytes())
    starts, again = (
        [each["start"] for each in document["snapshots"][0]["regions"]]
        for document in (theirs, record_again)
    )
    assert again == starts


@pytest.mark.parametrize(
    "changed",
    [
        {"age": 2**31},
        {"age": "4,294,967,296"},
        {"age": -1},
        {"age": True},
        {"age": 1e30},
        {"age": "1e3"},
        {"samples": 2**32 + 5},
        {"samples": 2**64},
        {"samples": [1]},
        {"samples": "12,34"},
        {"start": 2**63},
        {"start": -4096},
        {"end": 1e308},
        {"end": "99999999999999999999"},
        {"end": "8192 x"},
        {"end": None},
    ],
)
def test_damos_numbers_that_do_not_fit_are_refused_by_their_place(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    content = damo(
        (
            0,
            [
                region(),
                region(start=8192, end=12288) | region(**{"start": 8192, "end": 12288, **changed}),
            ],
        )
    )
    said = refusal(tmp_path / "r.json", content)
    assert any(place in said for place in ("region 2", "regions[1]", "region 0x", "region -0x"))


@pytest.mark.parametrize("time", [2**63, 1e30, "99999999999999999999", -1, True, "soon"])
def test_damos_times_that_do_not_fit_are_refused(tmp_path: Path, time: Any) -> None:
    said = refusal(tmp_path / "r.json", damo((0, [region()]), end_time=time))
    assert "damaged" in said


def test_what_comes_before_a_number_that_does_not_fit_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(damo((0, [region()]), (1, [region()]), (2, [region(age=2**32)])))
    recording = read_recording(path)
    assert [each.pid for each in recording.targets] == [0, 1]
    assert "record 3, snapshot 1, region 1: age cannot be 4294967296" in recording.problem


@pytest.mark.parametrize("name", ["csv", "ndjson"])
@pytest.mark.parametrize(
    "value", ["4294967301", "2147483648", "1e30", "NaN", "true", "5.5", '"5 x"']
)
def test_a_texts_numbers_that_do_not_fit_are_refused_by_their_place(
    tmp_path: Path, name: str, value: str
) -> None:
    path = tmp_path / "r"
    write_recording(path, record(tmp_path / "r.damon", busy(1)), format=name)
    lines = path.read_text().splitlines()
    if name == "ndjson":
        assert '"age":0,' in lines[2]
        lines[2] = lines[2].replace('"age":0,', f'"age":{value},')
    else:
        values = lines[3].split(",")
        values[lines[0].replace('"', "").split(",").index("age")] = value
        lines[3] = ",".join(values)
    said = refusal(path, "\n".join([*lines, ""]).encode())
    assert "age" in said
    assert name == "csv" or "line 3" in said


def test_a_line_of_perf_whose_number_does_not_fit_is_refused_by_its_place(tmp_path: Path) -> None:
    event = b"k 1 [0] %d.0: damon:damon_aggregated: target_id=0 nr_regions=1 0-4096: 1 %d\n"
    said = refusal(tmp_path / "t", event % (1, 2**64) + event % (2, 1))
    assert "line 1" in said


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (pa.int64(), 2**32, False),
        (pa.int64(), 7, True),
        (pa.uint8(), 7, True),
        (pa.uint64(), 2**63 + 7, False),
        (pa.float64(), 7.0, True),
        (pa.float64(), 7.5, False),
        (pa.float64(), float("nan"), False),
        (pa.bool_(), True, False),
        (pa.string(), "7", False),
    ],
)
@pytest.mark.parametrize("name", ["parquet", "native"])
def test_tables_of_other_types_are_read_if_every_value_fits(
    tmp_path: Path, name: str, kind: pa.DataType, value: Any, fits: bool
) -> None:
    table = record(tmp_path / "r.damon", busy(1)).table
    index = table.column_names.index("age")
    table = table.set_column(index, pa.field("age", kind), pa.array([value] * len(table), kind))
    path = tmp_path / "x"
    if name == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    if fits:
        assert read_recording(path).column("age").tolist() == [7] * len(table)
    else:
        assert "age" in refusal(path, path.read_bytes())


def test_tables_of_polars_and_pandas_are_read(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(5))
    write_recording(tmp_path / "r.parquet", recording)
    frame = pl.read_parquet(tmp_path / "r.parquet")
    frame.write_parquet(tmp_path / "polars.parquet")
    frame.write_ipc_stream(tmp_path / "polars.damon", compression="zstd")
    frame.to_pandas().to_parquet(tmp_path / "pandas.parquet")
    for name in ("polars.parquet", "pandas.parquet"):
        copy = read_recording(tmp_path / name)
        assert copy.complete
        assert copy.table.to_pylist() == recording.table.to_pylist()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("94,737,092,173,824", 94737092173824),
        ("94 737 092", 94737092),
        ("94\u202f737", 94737),
        ("94'737", 94737),
        ("12,34", None),
        ("1,2345", None),
        ("1,234,", None),
        ("1.234.567", None),
        ("5 5", None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_thousands_are_told_from_nonsense(written: Any, meant: int | None) -> None:
    for parse in (number_of, bytes_of, ns_of):
        if meant is None:
            with pytest.raises(ValueError, match="not a number"):
                parse(written)
        else:
            assert parse(written) == meant


@pytest.mark.parametrize("command", ["report", "convert"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dj_Infinity.json", None),
        ("dj_kd_null.json", None),
        ("age_2_32.json", None),
        ("emp4000.data", None),
        ("deep lists", b"[" * 200_000 + b"]" * 200_000),
        ("deep objects", b'{"a":' * 100_000 + b"}" * 100_000),
        ("half UTF-16", b"\xff\xfe[\0{"),
        ("not UTF-16", b"\xff\xfe\0\xd8\0\xd8"),
        ("half gzip", gzip.compress(b"[]" * 1000, mtime=0)[:20]),
    ],
)
def test_what_is_no_recording_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    content: bytes | None,
) -> None:
    path = tmp_path / name.replace(" ", "")
    path.write_bytes((CASES / name).read_bytes() if content is None else content)
    words = ["report", "summary", str(path)]
    if command == "convert":
        words = ["convert", str(path), str(tmp_path / "out.damon")]
    code = main(words)
    said = capsys.readouterr().err.splitlines()
    assert code == 1 or command == "convert"
    assert len([line for line in said if not line.startswith("  ")]) <= 1


def test_hostile_names_are_searched_in_time(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(3))
    assert len(analysis.where(recording, 'mapping ~ "(x+x+)+y"').table) == 0
    assert len(analysis.where(recording, 'mapping ~ "^.hea[pq]"').table) == 3
    with pytest.raises(PydamonError, match="RE2"):
        analysis.where(recording, r'mapping ~ "(a)\1"')


def test_a_recording_of_perf_says_what_to_do_with_it(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    path.write_bytes(b"PERFILE2" + b"\0" * 100)
    with pytest.raises(RecordingError) as caught:
        open_recording(path)
    assert f"perf script -i {path} > FILE.perf" in caught.value.hint


def lost(tmp_path: Path, recording: Recording, name: str) -> tuple[tuple[str, ...], Recording]:
    """What is said to be lost in a format, and what it made of a recording."""
    path = tmp_path / f"copy.{name}"
    names = write_recording(path, recording, format=name, force=True)
    return names, read_recording(path)


FILTERED = [
    region(start=4096, end=8192, sz_filter_passed="1.500 KiB"),
    region(start=8192, end=12288, sz_filter_passed="0 B", probe_hits=[1, 2]),
    region(start=12288, end=16384, samples=0),
]


@pytest.mark.parametrize("between", [one.name for one in FORMATS])
def test_what_damo_says_of_a_region_survives_or_is_named(tmp_path: Path, between: str) -> None:
    path = tmp_path / "theirs.json"
    path.write_bytes(damo((None, FILTERED), damos_stats={"nr_tried": 3}))
    names, copy = lost(tmp_path, read_recording(path), between)
    if between == "perf_script":
        assert {"damos_stats", "sz_filter_passed", "probe_hits"} <= set(names)
        return
    assert names == ()
    lost(tmp_path, copy, "json")
    (taken,) = json.loads((tmp_path / "copy.json").read_bytes())[0]["snapshots"]
    assert taken["damos_stats"] == {"nr_tried": 3}
    assert [each["sz_filter_passed"] for each in taken["regions"]] == ["1.500 KiB", "0 B", "0 B"]
    assert [each["probe_hits"] for each in taken["regions"]] == [[], [1, 2], []]


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
@pytest.mark.parametrize("seed", range(8))
def test_a_conversion_keeps_every_value_or_names_its_column(
    tmp_path: Path, name: str, seed: int
) -> None:
    """Of recordings in which some columns say something, and others what says nothing."""
    rng = np.random.default_rng(seed)
    recording = record(tmp_path / "r.damon", busy(6))
    table = recording.table
    for field in table.schema:
        usual = {"mapping": "", "perms": "", "target": None, "host": ""}.get(field.name)
        if usual is not None and rng.random() < 0.5:
            values = pa.array([usual] * len(table)).dictionary_encode()
        elif field.name in ("cpu_ns", "interruption_ns", "late_ticks") and rng.random() < 0.5:
            values = pa.array(np.zeros(len(table)), field.type)
        elif field.name == "touched_bytes" and rng.random() < 0.3:
            values = pa.array(recording.column("touched_bytes") // 2)
        elif field.name in ("vsz_bytes", "rss_bytes") and rng.random() < 0.5:
            values = pa.array(rng.integers(1, 9, len(table)), field.type)
        else:
            continue
        table = table.set_column(table.column_names.index(field.name), field.name, values)
    changed = Recording(recording.info, table.cast(recording.table.schema))
    names, copy = lost(tmp_path, changed, name)
    if "touched_bytes" in names:
        return  # regions that are touched in part become two
    theirs, ours = (
        sorted(each.table.to_pylist(), key=lambda row: (row["end_ns"], row["pid"], row["start"]))
        for each in (copy, changed)
    )
    differing = {key for a, b in zip(theirs, ours, strict=True) for key in b if a[key] != b[key]}
    assert differing <= set(names)
    for field in ("commands", "kernel", "hostname", "pydamon_version", "probe"):
        if getattr(copy.info, field) != getattr(recording.info, field):
            assert field in names
    if FORMATS[[format.name for format in FORMATS].index(name)].holds is None:
        assert names == ()

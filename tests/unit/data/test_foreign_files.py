"""Files as other tools write them: `tests/unit/cases` holds small ones that once failed."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from pydamon import analysis
from pydamon._cli.main import main
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording, read_recording
from pydamon._model.errors import PydamonError, RecordingError
from tests.recordings import MIB, busy, comparable, record

CASES = Path(__file__).parents[1] / "cases"
TEXTS = ["csv", "ndjson", "json", "perf_script"]


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
    assert comparable(changed_recording.table).to_pylist() == comparable(sound.table).to_pylist()


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
        assert comparable(copy.table).to_pylist() == comparable(recording.table).to_pylist()


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

"""Files that mean harm: mutated, cut, spliced, with absurd numbers, and bombs.

    python -m tests.hostile [COUNT [SEED]]

Each is given to `pydamon report summary --long` and `pydamon convert` in a process of its own,
which may have little memory and time. It must end as if nothing were wrong, or with one error line.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pydamon.cli.main import main
from pydamon.recording import FORMATS, write_recording
from pydamon.recording.arrays import batch_of, constant
from pydamon.recording.format import file_schema
from tests.recordings import busy, info, killed, record

__all__ = ["Outcome", "all_tried", "files", "tried"]

MEMORY_BYTES = 2**30
"""Address space beyond what the program has when it starts."""
CPU_S = 30
_MIB = 2**20
_NUMBER = re.compile(rb"\d+")
_ABSURD = [
    b"-1",
    b"0",
    b"9" * 18,
    b"9" * 30,
    b"18446744073709551615",
    b"1e308",
    b"NaN",
    b'"x"',
    b"{}",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a file was taken: `wrong` says what is not as it should be, and is empty if all is."""

    name: str
    wrong: str
    error: str
    seconds: float
    memory_bytes: int


def files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many files with their names; the same for the same seed."""
    rng = random.Random(seed)
    sound = _sound()
    bombs = [(name, cache(bomb)) for name, bomb in _bombs().items()]
    for number in range(count):
        if number % 10 == 0:
            name, bomb = bombs[number // 10 % len(bombs)]
            yield f"{number} bomb: {name}", bomb()
            continue
        kind = rng.choice(list(sound))
        how = rng.choice(_MUTATIONS)
        content = sound[kind]
        inner = zlib.decompress(content) if kind == "json_compressed" else content
        if kind == "json_compressed" and rng.random() < 0.7:
            changed = zlib.compress(how(inner, rng, sound))
        else:
            changed = how(content, rng, sound)
        yield f"{number} {kind}: {how.__name__.strip('_')}", changed


def tried(name: str, content: bytes, folder: Path) -> Outcome:
    """What `report` and `convert` make of a file, in a child process with limits."""
    path = folder / "hostile"
    path.write_bytes(content)
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(path, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        error = pipe.read().decode(errors="replace")
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    wrong = ""
    if os.WIFSIGNALED(status):
        wrong = f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    elif os.WEXITSTATUS(status) > 1:
        wrong = f"exit code {os.WEXITSTATUS(status)}"
    elif "Traceback" in error:
        wrong = "a traceback"
    elif sum(not line.startswith("  ") for line in error.splitlines()) > 2:
        wrong = "more than a line for each command"
    return Outcome(name, wrong, error, seconds, usage.ru_maxrss * 1024)


def _child(path: Path, writing: int) -> None:
    """Never returns."""
    code = 70
    try:
        os.dup2(writing, 2)
        sys.stderr = os.fdopen(writing, "w")  # pytest, too, has one of its own
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        code = _used(path)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _used(path: Path) -> int:
    """Report and convert a file; the exit code."""
    code = main(["report", "summary", "--long", str(path)])
    return max(code, main(["convert", "--force", str(path), str(path.with_suffix(".damon"))]))


def _sound() -> dict[str, bytes]:
    """A sound file of each format, and a recording whose recorder was killed."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.damon"
        found["killed"] = killed(path, busy(40))
        recording = record(path, busy(40))
        for one in FORMATS:
            write_recording(path, recording, format=one.name, force=True)
            found[one.name] = path.read_bytes()
    return found


_Mutation = Callable[[bytes, random.Random, dict[str, bytes]], bytes]


def _flip(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    changed = bytearray(content)
    for _time in range(rng.choice([1, 1, 3, 20])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    return content[: rng.randrange(len(content))]


def _overwrite(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    """Lengths and offsets that are negative or absurd."""
    at = rng.randrange(len(content))
    word = rng.choice(
        [b"\xff" * 4, b"\x00" * 8, b"\xff" * 7 + b"\x7f", b"\x80" + b"\0" * 3, b"\x7f"]
    )
    return content[:at] + word + content[at + len(word) :]


def _remove(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    low, high = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:low] + content[high:]


def _repeat(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    low, high = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:high] + content[low:high] * rng.choice([1, 5]) + content[high:]


def _splice(content: bytes, rng: random.Random, sound: dict[str, bytes]) -> bytes:
    other = rng.choice(list(sound.values()))
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def _absurd_number(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    found = list(_NUMBER.finditer(content))
    if not found:
        return content
    for one in sorted(rng.sample(found, min(len(found), rng.choice([1, 1, 10]))), key=_at)[::-1]:
        content = content[: one.start()] + rng.choice(_ABSURD) + content[one.end() :]
    return content


def _at(match: re.Match[bytes]) -> int:
    return match.start()


_MUTATIONS: list[_Mutation] = [
    _flip,
    _cut,
    _overwrite,
    _remove,
    _repeat,
    _splice,
    _absurd_number,
]


def _bombs() -> dict[str, Callable[[], bytes]]:
    record_head = b'[{"target_id":0,"snapshots":['
    snapshot_head = b'{"start_time":"1","end_time":"2","regions":['
    region = b'{"start":"0","end":"4096"},'
    return {  # first one of each kind, for those who try a few
        "a snapshot in zlib": lambda: _deflated(record_head, region, 100 * _MIB),
        "more rows than any": lambda: _arrow_bomb(2**23),
        "a name in zstd": lambda: _name_bomb(200 * _MIB),
        "targets without end in perf": lambda: b"".join(
            b"k 1 [000] %d.0: damon:damon_aggregated: target_id=%d nr_regions=1 0-4096: 1 1\n"
            % (n, n)
            for n in range(3000)
        ),
        "blanks in zlib": lambda: _deflated(b"[", b" ", 100 * _MIB),
        "a head in zlib": lambda: _deflated(b'[{"a":"', b"x", 100 * _MIB),
        "regions in zlib": lambda: _deflated(record_head + snapshot_head, region, 100 * _MIB),
        "snapshots in zlib": lambda: _deflated(
            record_head, snapshot_head + b'{"start":"0","end":"9"}]},', 20 * _MIB
        ),
        "brackets in zlib": lambda: _deflated(record_head, b"[", 100 * _MIB),
        "braces in zlib": lambda: _deflated(record_head, b"{}]", 100 * _MIB),
        "nested lists": lambda: b"[" * 10**6,
        "nested objects": lambda: record_head + b'{"a":' * 10**6,
        "nested statistics": lambda: (
            record_head + snapshot_head + region[:-1] + b'],"damos_stats":' + b"[" * 10**6
        ),
        "nested in NDJSON": lambda: (
            b'{"pydamon":' + b'{"a":' * 10**5 + b"1" + b"}" * 10**5 + b"}\n"
        ),
        "lists in NDJSON": lambda: b'{"start_ns":' + b"[" * 10**5 + b"]" * 10**5 + b"}\n",
        "a line without end": lambda: b"start_ns,end_ns," + b"x" * 20 * _MIB,
        "a number without end": lambda: record_head + snapshot_head + b'{"start":' + b"9" * 10**6,
        "overlapping regions": lambda: _json_of([(0, 8192), (4096, 12288)]),
        "regions backwards": lambda: _json_of([(8192, 12288), (0, 4096)]),
        "a region of negative size": lambda: _json_of([(8192, 4096)]),
        "a region beyond all memory": lambda: _json_of([(0, 2**63 - 1)]),
        "rows in zstd": lambda: _arrow_bomb(2**22),
        "batches of rows in zstd": lambda: _arrow_bomb(2**18, batches=12),
        "rows in Parquet": _parquet_bomb,
        "snapshots without end in perf": lambda: (
            b"kdamond.0 1 [000] 1.0: damon:damon_aggregated: target_id=0 nr_regions=999999999 "
            b"0-4096: 1 1\n" * 10**5
        ),
    }


def _deflated(head: bytes, filling: bytes, size: int) -> bytes:
    deflater = zlib.compressobj(6)
    block = filling * (_MIB // len(filling))
    chunks = [deflater.compress(head)]
    chunks += [deflater.compress(block) for _ in range(size // len(block))]
    return b"".join([*chunks, deflater.flush()])


def _json_of(regions: list[tuple[int, int]]) -> bytes:
    counted = [
        {
            "start": str(start),
            "end": str(end),
            "nr_accesses": {"samples": 1, "percent": None},
            "age": {"usec": None, "aggr_intervals": "0"},
        }
        for start, end in regions
    ]
    taken = {"start_time": "1", "end_time": "2", "regions": counted}
    return json.dumps([{"target_id": 0, "snapshots": [taken]}]).encode()


def _stream(batches: Iterator[pa.RecordBatch]) -> bytes:
    schema = file_schema(info())
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(out, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema))
    return out.getvalue()


def _rows(count: int) -> pa.RecordBatch:
    """Rows that are sound, but for being as alike as can be."""
    start_ns = np.arange(count)
    ones = np.ones(count, np.int64)
    columns = {"start_ns": start_ns, "end_ns": start_ns + 1, "end": ones, "max_nr_accesses": ones}
    return batch_of({**columns, "host": constant("", count)}, count)


def _arrow_bomb(rows: int, batches: int = 1) -> bytes:
    return _stream(iter([_rows(rows)] * batches))


def _name_bomb(size: int) -> bytes:
    batch = _rows(10)
    index = batch.schema.get_field_index("mapping")
    codes = pa.array(np.zeros(10, np.int32))
    words = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * size]))
    return _stream(iter([batch.set_column(index, batch.schema.field(index), words)]))


def _parquet_bomb() -> bytes:
    from pyarrow import parquet

    out = io.BytesIO()
    table = pa.Table.from_batches([_rows(2**22)]).cast(file_schema(info()))
    parquet.write_table(table, out, compression="zstd", row_group_size=2**22)
    return out.getvalue()


def all_tried(count: int, seed: int) -> list[Outcome]:
    """Try so many files, one after the other."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        path = Path(folder) / "sound.damon"
        record(path, busy(2))
        with redirect_stdout(nowhere):
            _used(path)  # what is imported once need not be imported in every child
            return [tried(name, content, Path(folder)) for name, content in files(count, seed)]


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    outcomes = all_tried(*numbers, *[1000, 1][len(numbers) :])
    wrong = [one for one in outcomes if one.wrong]
    for one in wrong:
        print(f"{one.name}: {one.wrong}\n{one.error[-600:]}")
    slowest = max(outcomes, key=lambda one: one.seconds)
    largest = max(outcomes, key=lambda one: one.memory_bytes)
    print(f"{len(outcomes)} files, {len(wrong)} taken wrongly")
    print(f"slowest: {slowest.name}, {slowest.seconds:.1f} s")
    print(f"largest: {largest.name}, {largest.memory_bytes / _MIB:.0f} MiB")
    sys.exit(bool(wrong))

"""Files that mean harm: mutated, cut, spliced, with absurd numbers, and bombs.

    python -m tests.hostile [COUNT [SEED]]

Each is given to `pydamon report summary` and `pydamon convert` in a process of its own, which may
have little memory and time. It must end as if nothing were wrong, or with one error line.
"""

from __future__ import annotations

import gzip
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
from functools import partial
from pathlib import Path

import pyarrow as pa

from pydamon._cli.main import main
from pydamon._data.formats import FORMATS
from pydamon._data.formats.output import write_recording
from tests.hostile_bombs import bombs
from tests.recordings import busy, killed, record

__all__ = ["Outcome", "all_tried", "files", "tried"]

MEMORY_BYTES = 2**30
"""Address space beyond what the program has when it starts."""
MOST_MEMORY_BYTES = 500 * 10**6
_PLAIN_BYTES = 120 * 10**6
"""What the program takes that has imported everything, and read nothing."""
MOST_CPU_S = 10
"""Of either command."""
_MIB = 2**20
_TARGETS = (".native.damon", ".csv", ".json", ".perf", ".parquet", ".ndjson")
_NUMBER = re.compile(rb"\d+")
_ABSURD = [
    b"-1",
    b"0",
    b"9" * 18,
    b"9" * 30,
    b"18446744073709551615",
    b"4294967296",
    b"4294967301",
    b"2147483648",
    b"-9223372036854775809",
    b"1e308",
    b"1e30",
    b"NaN",
    b"Infinity",
    b"true",
    b"null",
    b'"x"',
    b"12,34",
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


def files(count: int, seed: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """So many files with their names, still to be made; the same for the same seed."""
    rng = random.Random(seed)
    sound = _sound()
    every = list(bombs().items())
    for number in range(count):
        if number % 10 == 0:
            name, bomb = every[number // 10 % len(every)]
            yield f"{number} bomb: {name}", bomb
            continue
        kind = rng.choice(list(sound))
        how = rng.choice(_MUTATIONS)
        content = sound[kind]
        inner = zlib.decompress(content) if kind == "json_compressed" else content
        if kind == "json_compressed" and rng.random() < 0.7:
            changed = zlib.compress(how(inner, rng, sound))
        else:
            changed = how(content, rng, sound)
        yield f"{number} {kind}: {how.__name__.strip('_')}", partial(bytes, changed)


def made(path: Path, content: Callable[[], bytes]) -> None:
    """Make a file in a child process, whose memory is not that of the children to come."""
    child = os.fork()
    if child == 0:
        try:
            path.write_bytes(content())
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def tried(name: str, content: Callable[[], bytes], folder: Path) -> Outcome:
    """What `report` and `convert` make of a file, in a child process with limits."""
    path = folder / "hostile"
    made(path, content)
    reading, writing = os.pipe()
    before_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(path, writing, _TARGETS[len(name) % len(_TARGETS)])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        error = pipe.read().decode(errors="replace")
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    # The child of a large process is as large from the start.
    used_bytes = usage.ru_maxrss * 1024 - max(0, before_bytes - _PLAIN_BYTES)
    wrong = ""
    if os.WIFSIGNALED(status):
        wrong = f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    elif os.WEXITSTATUS(status) > 1:
        wrong = f"exit code {os.WEXITSTATUS(status)}"
    elif "Traceback" in error:
        wrong = "a traceback"
    elif used_bytes > MOST_MEMORY_BYTES:
        wrong = f"{used_bytes / 1e6:.0f} MB"
    elif sum(not line.startswith("  ") for line in set(error.splitlines())) > 3:
        wrong = "more lines than it has to say"
    return Outcome(name, wrong, error, seconds, used_bytes)


def _child(path: Path, writing: int, suffix: str) -> None:
    """Never returns."""
    code = 70
    try:
        os.dup2(writing, 2)
        sys.stderr = os.fdopen(writing, "w")  # pytest, too, has one of its own
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (2 * MOST_CPU_S, 3 * MOST_CPU_S))
        code = used(path, suffix)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def used(path: Path, suffix: str) -> int:
    """Report and convert a file; the exit code."""
    code = 0
    for words in (
        ["report", "summary", str(path)],
        ["convert", "--force", str(path), str(path.with_suffix(suffix))],
    ):
        began_s = time.process_time()
        code = max(code, main(words))
        took_s = time.process_time() - began_s
        if took_s > MOST_CPU_S:
            raise TimeoutError(f"{words[0]} took {took_s:.0f} s")
    return code


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


def _as_other_tools(content: bytes, rng: random.Random, _: dict[str, bytes]) -> bytes:
    """What other tools make of a text, or of any file."""
    how: list[Callable[[bytes], bytes]] = [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\n\n# made by a tool\n" + text,
        lambda text: text.decode(errors="replace").encode("utf-16"),
        gzip.compress,
        lambda text: pa.compress(text, "zstd", asbytes=True),
    ]
    return rng.choice(how)(content)


_MUTATIONS: list[_Mutation] = [
    _as_other_tools,
    _flip,
    _cut,
    _overwrite,
    _remove,
    _repeat,
    _splice,
    _absurd_number,
]


def all_tried(count: int, seed: int) -> list[Outcome]:
    """Try so many files, one after the other."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        path = Path(folder) / "sound.damon"
        record(path, busy(2))
        with redirect_stdout(nowhere):
            for suffix in _TARGETS:
                used(path, suffix)  # imported once, not in every child
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

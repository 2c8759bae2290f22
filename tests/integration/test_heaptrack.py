"""Owners of C++ and Rust programs under heaptrack, from their start and attached to."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.owner_reports import (
    needs,
    needs_page_maps,
    owners_report,
    pydamon,
    sum_below,
)

pytestmark = [pytest.mark.live, pytest.mark.long]

MIB = 1 << 20
SITES = 20
IN_USE = (0, 5, 10, 15, 17)
KIB = (2048, 3072, 5120, 1024)


def cpp_program() -> str:
    """A program with 20 functions that allocate, of which 5 have their memory used."""
    makers = [
        f"__attribute__((noinline)) char *site_{number:02}() {{"
        f" return fill({'new char[%d]' if number % 2 else '(char *)malloc(%d)'}, %d); }}"
        % ((KIB[number % 4] << 10,) * 2)
        for number in range(SITES)
    ]
    names = ", ".join(f"site_{number:02}" for number in range(SITES))
    used = ", ".join(map(str, IN_USE))
    sizes = ", ".join(str(KIB[number % 4] << 10) for number in range(SITES))
    return "\n".join(
        [
            "#include <cstdio>",
            "#include <cstdlib>",
            "#include <cstring>",
            "#include <unistd.h>",
            "static char *fill(char *p, size_t n) { memset(p, 1, n); return p; }",
            *makers,
            f"char *(*sites[])() = {{{names}}};",
            f"int used[] = {{{used}}}; long sizes[] = {{{sizes}}};",
            "int main(int, char **words) {",
            f"  volatile char *kept[{SITES}];",
            "  if (words[2]) getchar();",
            f"  for (int i = 0; i < {SITES}; i++) kept[i] = sites[i]();",
            "  for (int turn = 0; turn < 10 * atoi(words[1]); turn++) {",
            "    usleep(100000);",
            "    for (int i : used) for (long k = 0; k < sizes[i]; k += 512) kept[i][k]++;",
            "  }",
            "}",
        ]
    )


def test_the_sites_of_a_cpp_program(tmp_path: Path) -> None:
    needs("heaptrack", "zstd", "g++")
    needs_page_maps()
    (tmp_path / "sites.cpp").write_text(cpp_program())
    program = tmp_path / "sites"
    subprocess.run(["g++", "-g", "-O1", "-o", program, tmp_path / "sites.cpp"], check=True)
    recording, capture = tmp_path / "sites.damon", tmp_path / "sites"
    words = ("--engine", "sampling", "--page-map", "5s", "-o", str(recording))
    run = ("heaptrack", "--raw", "-o", str(capture), str(program), "35")
    pydamon("record", *words, "--", *run)
    check_sites(owners_report(recording, "--heaptrack", f"{capture}.raw.zst"))


def check_sites(owners: list[dict[str, Any]]) -> None:
    """Each site has what the program knows of itself."""
    for number in range(SITES):
        label, size = f"site_{number:02}", KIB[number % 4] << 10
        idle = sum_below(owners, label, "idle_bytes")
        used = sum_below(owners, label, "hot_bytes") + sum_below(owners, label, "warm_bytes")
        expected = (0, size) if number in IN_USE else (size, 0)
        assert (idle, used) == pytest.approx(expected, rel=0.05, abs=0.05 * size), label


def test_heaptrack_attached_to_a_running_program(tmp_path: Path) -> None:
    needs("heaptrack", "zstd", "g++", "gdb")
    needs_page_maps()
    (tmp_path / "sites.cpp").write_text(cpp_program())
    program, capture, told = tmp_path / "sites", tmp_path / "capture", tmp_path / "told"
    subprocess.run(["g++", "-g", "-O1", "-o", program, tmp_path / "sites.cpp"], check=True)
    with subprocess.Popen([program, "32", "wait"], stdin=subprocess.PIPE) as running:
        attach = ["heaptrack", "--raw", "-o", str(capture), "-p", str(running.pid)]
        with told.open("wb") as out, subprocess.Popen(attach, stdout=out, stderr=out) as heaptrack:
            end = time.monotonic() + 60
            while b"injection finished" not in told.read_bytes():
                if heaptrack.poll() is not None or time.monotonic() > end:
                    running.kill()
                    pytest.skip(f"gdb cannot attach here: {told.read_text()}")
                time.sleep(0.1)
            assert running.stdin is not None
            running.stdin.write(b"\n")
            running.stdin.flush()
            recording = tmp_path / "x.damon"
            words = ("--engine", "sampling", "--page-map", "5s", "-o", str(recording))
            pydamon("record", *words, str(running.pid))
            running.wait()
    check_sites(owners_report(recording, "--heaptrack", f"{capture}.raw.zst"))


RUST = """
use std::{env, thread, time::Duration};

#[inline(never)]
fn load_catalogue() -> Vec<Vec<u8>> { (0..200).map(|i| vec![i as u8; 20 << 10]).collect() }

struct Prices { values: Vec<u64> }

impl Prices {
    #[inline(never)]
    fn load(number: u64) -> Prices {
        let mut values = Vec::with_capacity(number as usize);
        for value in 0..number { values.push(value); }
        Prices { values }
    }
}

#[inline(never)]
fn spare<T: Clone>(value: T, number: usize) -> Vec<T> { vec![value; number] }

fn main() {
    let turns: u64 = env::args().nth(1).unwrap().parse().unwrap();
    let (catalogue, spare) = (load_catalogue(), spare(3u16, 1 << 20));
    let mut prices = Prices::load(1 << 19);
    for _ in 0..10 * turns {
        thread::sleep(Duration::from_millis(100));
        for value in prices.values.iter_mut() { *value += 1; }
    }
    println!("{} {} {}", catalogue.len(), spare.len(), prices.values[7]);
}
"""


def test_the_sites_of_a_rust_program(tmp_path: Path) -> None:
    needs("heaptrack", "zstd", "c++filt")
    needs_page_maps()
    rustc = shutil.which("rustc") or Path.home() / ".cargo/bin/rustc"
    if not Path(rustc).exists():
        pytest.skip("this machine has no rustc")
    (tmp_path / "sites.rs").write_text(RUST)
    program, recording, capture = tmp_path / "program", tmp_path / "x.damon", tmp_path / "capture"
    options = ("-g", "-O", "-C", "symbol-mangling-version=v0")
    subprocess.run([rustc, *options, "-o", program, tmp_path / "sites.rs"], check=True)
    words = ("--engine", "sampling", "--page-map", "5s", "-o", str(recording))
    run = ("heaptrack", "--raw", "-o", str(capture), str(program), "30")
    pydamon("record", *words, "--", *run)
    owners = owners_report(recording, "--heaptrack", f"{capture}.raw.zst")
    for label, idle_kib, used_kib in (
        ("load_catalogue", 4000, 0),
        ("sites::spare", 2048, 0),
        ("Prices>::load", 0, 4 << 10),
    ):
        idle = sum_below(owners, label, "idle_bytes")
        used = sum_below(owners, label, "hot_bytes") + sum_below(owners, label, "warm_bytes")
        expected = (idle_kib << 10, used_kib << 10)
        assert (idle, used) == pytest.approx(expected, rel=0.05, abs=200 << 10), label
    innermost = {use["path"][-1].partition(" (")[0] for use in owners if use["idle_bytes"] > MIB}
    assert not any(name.startswith(("alloc::", "core::", "_R")) for name in innermost)


def test_heaptrack_that_is_ended_with_the_recording_has_a_complete_file(tmp_path: Path) -> None:
    needs("heaptrack", "zstd")
    capture, recording = tmp_path / "capture", tmp_path / "x.damon"
    words = ("--engine", "sampling", "--duration", "3s", "-o", str(recording))
    pydamon("record", *words, "--", "heaptrack", "--raw", "-o", str(capture), "sleep", "100")
    owners = json.loads(
        pydamon(
            *("report", "owners", str(recording), "--json"),
            *("--heaptrack", f"{capture}.raw.zst"),
        )
    )
    assert sum(use["allocated_bytes"] for use in owners["owners"]) > 0

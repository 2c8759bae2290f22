"""Containers by runc: their names, their working sets, and pydamon in one of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

import pydamon
from pydamon import TargetSelection
from tests.integration.conftest import MIB, running, slowness
from tests.vm.packages import UnavailableError, package
from tests.vm.runc import container, needs_runc

pytestmark = [pytest.mark.live, needs_runc, pytest.mark.usefixtures("places")]

WORDS = (
    *("containers", "--duration", "60s", "--within", "20s"),
    *("--cpu-budget", "40", "--max-refaults", "20/s", "--json"),
)
"""Emulated, the machine is slow: looks at all pages take more than 1 % of a CPU."""
MONITOR = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
READY = "import pathlib; pathlib.Path({ready!r}).touch()\n"
CLIENT = """
import socket, time
server = None
while server is None:
    try:
        server = socket.create_connection(("127.0.0.1", 6379))
    except ConnectionRefusedError:
        time.sleep(0.2)
answers = server.makefile("rb")

def call(*words):
    bulks = b"".join(b"$%d\\r\\n%s\\r\\n" % (len(word), word) for word in words)
    server.sendall(b"*%d\\r\\n%s" % (len(words), bulks))
    assert not (answer := answers.readline()).startswith(b"-"), answer

for number in range({values}):
    call(b"SET", b"%d" % number, bytes([number + 1]) * (1 << 20))
READY
while True:
    for number in range({hot}):
        call(b"BITCOUNT", b"%d" % number)  # reads all of it
    time.sleep(0.2)
"""
READER = """
import mmap, time
with open({data!r}, "rb") as file:
    while file.read(1 << 20):
        pass
    memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
READY
while True:
    memory[: 50 << 20 : mmap.PAGESIZE]
    time.sleep(0.2)
"""
REDIS = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1")
VALUES, HOT = 160, 80
"""Values of 1 MiB in redis, and how many of them are read again and again."""
IDLE = """
import time
READY
time.sleep(10**6)
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three containers that run, `redis`, `reader` and `idle`, and a client of redis."""
    directory = tmp_path_factory.mktemp("containers")
    data = directory / "data"
    with data.open("wb") as file:
        for number in range(300):
            file.write(bytes([number % 251 + 1]) * MIB)
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    with ExitStack() as stack:
        try:
            redis, libraries = redis_server()
        except UnavailableError as error:
            pytest.skip(f"needs Debian's package redis-server: {error}")
        command = ("env", f"LD_LIBRARY_PATH={libraries}", str(redis), *REDIS)
        stack.enter_context(container("redis", command, directory))
        texts = {"client": CLIENT, "reader": READER, "idle": IDLE}
        for name, text in texts.items():
            ready = directory / f"{name}-ready"
            script = text.replace("READY", READY.format(ready=str(ready)))
            for field, value in (("data!r", repr(str(data))), ("values", VALUES), ("hot", HOT)):
                script = script.replace(f"{{{field}}}", str(value))
            argv = (sys.executable, "-c", script)
            of_host = name == "client"
            stack.enter_context(running(*argv) if of_host else container(name, argv, directory))
            until(ready.exists)
        yield directory


def redis_server() -> tuple[Path, Path]:
    """The program, as Debian's package has it, and the directory of its libraries."""
    root = package("redis-server")
    return root / "usr/bin/redis-server", root / "usr/lib/x86_64-linux-gnu"


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def cli(*words: str) -> str:
    argv = [sys.executable, "-m", "pydamon", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(document: dict[str, Any]) -> None:
    """The names are right, and the working sets within 5 % of the truth."""
    rows = {row["name"]: row for row in document["containers"] if row["runtime"] == "runc"}
    assert {"redis", "reader", "idle"} <= rows.keys()
    for name, row in rows.items():
        figures = {key: row[key] / MIB for key in ("used_bytes", "mapped_bytes")}
        kernel = row["kernel"] and {k: v for k, v in row["kernel"].items() if v}
        print(name, figures, row["within_ns"] / 1e9, kernel, row["recommendation"], row["needs"])
    assert rows["redis"]["used_bytes"] == pytest.approx(HOT * MIB, rel=0.05)
    assert rows["redis"]["mapped_bytes"] >= VALUES * MIB
    assert rows["reader"]["used_bytes"] == pytest.approx(50 * MIB, rel=0.05)
    assert rows["idle"]["used_bytes"] < 2 * MIB
    assert rows["reader"]["kernel"]["usage_bytes"] > 300 * MIB
    request = rows["redis"]["recommendation"]["request_bytes"]
    assert request >= VALUES * MIB, "without swap idle anonymous memory cannot be taken"
    need = rows["reader"]["recommendation"]["need_bytes"]
    assert 50 * MIB <= need < 100 * MIB


def test_the_host_names_containers_and_knows_their_working_sets() -> None:
    text = cli(*WORDS)
    check(json.loads(text))


def test_processes_are_selected_by_container(tmp_path: Path) -> None:
    rows = {row.name: row for row in pydamon.containers.containers()}
    assert rows["redis"].cgroup == "/test/redis"
    for words in (("--container", "red"), ("--cgroup", "test/redis")):
        out = tmp_path / "x.damon"
        cli("record", *words, "--duration", "3s", "--force", "--out", str(out))
        targets = pydamon.read_recording(out).targets
        assert len(targets) == 1
        status = Path(f"/proc/{targets[0].pid}/status").read_text()
        assert "NSpid" in status, "the pid is that of the host"
    with pytest.raises(pydamon.TargetError, match="no container 'other'") as caught:
        pydamon.monitor(TargetSelection(container="other"))
    assert "redis" in caught.value.hint


def test_pydamon_in_a_container_sees_the_others(tmp_path: Path) -> None:
    """As a DaemonSet: the host's pids, its files at /host, and no more privileges than it takes."""
    out = tmp_path / "out.json"
    words = f"{' '.join(WORDS)} --host-root /host"
    line = f"{sys.executable} -m pydamon {words} > {out}.part 2> {out}.err; mv {out}.part {out}"
    with container(
        "pydamon",
        ["sh", "-c", f"{line}; sleep 1000"],
        tmp_path,
        capabilities=MONITOR,
        host_pids=True,
        host_root=True,
    ):
        until(out.exists, 300)
        print(Path(f"{out}.err").read_text())
    check(json.loads(out.read_text()))


def test_200_containers_that_start_and_stop_leave_nothing_behind() -> None:
    """Cgroups as Docker makes them, 20 at a time: budget, memory, descriptors, series and names."""
    root = Path("/sys/fs/cgroup/docker")
    root.mkdir(exist_ok=True)
    Path("/var/lib/docker/containers").mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    started = list[str]()
    churn = threading.Thread(target=_churn, args=(root, started, stop))
    # Containers that live for 10 s must not end between two looks at which processes there are.
    budget = min(50, 2 * slowness())
    words = ("export", "--all-containers", "--listen", "127.0.0.1:9872", "--processes", "30")
    argv = (sys.executable, "-m", "pydamon", *words, "--cpu-budget", str(budget))
    with running(*argv) as process:
        until(lambda: 'container="redis"' in _page())
        time.sleep(20)  # the first seconds are dearer
        exporter, seen = psutil.Process(process.pid), set[str]()
        rows, before = list[tuple[int, int, int]](), _labels("container")
        cpu_s, begin_s, begin_cost_s = _cpu_s(exporter), time.monotonic(), _monitor_cpu_s()
        churn.start()
        try:
            while churn.is_alive():
                time.sleep(5)
                names = _labels("container")
                seen |= names
                rows.append((exporter.num_fds(), exporter.memory_info().rss >> 20, len(names)))
        finally:
            stop.set()
            churn.join()
        elapsed_s = time.monotonic() - begin_s
        monitor = 100 * (_monitor_cpu_s() - begin_cost_s) / elapsed_s
        whole = 100 * (_cpu_s(exporter) - cpu_s) / elapsed_s
        until(lambda: "job-" not in _page())
        after, pids = _labels("container"), _labels("pid")
    print(f"{len(started)} containers in {elapsed_s:.0f} s, {len(seen)} names seen")
    print(f"monitoring {monitor:.2f} % of a CPU, with {len(rows)} scrapes {whole:.2f} %; {budget=}")
    print(f"descriptors, MiB, containers: {rows}")
    assert len(started) == 200
    assert len(seen & set(started)) > 20
    assert monitor < 1.2 * budget
    half = len(rows) // 2
    early, late = _most(rows[:half]), _most(rows[half:])
    assert late[0] <= 1.5 * early[0]
    assert late[1] <= early[1] + 8
    assert max(early[2], late[2]) <= 31
    assert after == before
    assert all(Path("/proc", pid).exists() for pid in pids)


def _most(rows: Sequence[tuple[int, int, int]]) -> list[int]:
    return [max(column) for column in zip(*rows, strict=True)]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _page() -> str:
    """The exporter's metrics; empty before it has any."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9872/metrics", timeout=30) as page:
            return str(page.read().decode())
    except OSError:
        return ""


def _labels(name: str) -> set[str]:
    """What the exporter's series have for a label."""
    return set(re.findall(rf'{name}="([^"]*)"', _page()))


def _monitor_cpu_s() -> float:
    match = re.search(r"^pydamon_monitor_cpu_seconds_total (\S+)$", _page(), re.MULTILINE)
    assert match
    return float(match[1])


def _churn(root: Path, started: list[str], stop: threading.Event) -> None:
    """Start 200 containers, of which 20 run at a time, and end all."""
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    while (len(started) < 200 and not stop.is_set()) or running:
        if len(started) < 200 and not stop.is_set():
            identifier = f"{len(started) + 1:064x}"
            place = root / identifier
            place.mkdir()
            config = Path(f"/var/lib/docker/containers/{identifier}/config.v2.json")
            config.parent.mkdir(exist_ok=True)  # from a run before
            name = f"job-{len(started)}"
            config.write_text(json.dumps({"Name": f"/{name}"}))
            line = f"echo $$ > {place}/cgroup.procs; exec sleep 1000"
            running.append((subprocess.Popen(["sh", "-c", line]), place))
            started.append(name)
            time.sleep(0.5)
        if len(running) > 20 or len(started) >= 200 or stop.is_set():
            process, place = running.pop(0)
            process.kill()
            process.wait()
            time.sleep(0.05)
            place.rmdir()

"""What an ordinary user may try against the daemon: run as a program, by that user.

`daemon_peer.py WHAT [PID]` prints a line of JSON. Private names: honest clients cannot say what is
tried here.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pydamon
from pydamon._daemon.protocol import ARGUMENTS, REPLY, REQUEST, VERSION, Op, areas
from pydamon._observe.linux.arch import LEVEL_BITS, PAGE_SHIFT
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.daemon.session import DaemonSession
from pydamon._observe.probes.ebpf.btf import BLOCK, Pace
from pydamon._observe.probes.ebpf.plan import fingerprint

_SET_DUMPABLE = 4
_FIRST_OF_CROWD = 64_100
_CROWDED_BYTES = 16 << 20
_NEW_USER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)

Answer = tuple[int, tuple[int, ...], str]


class Peer:
    """A connection that checks nothing."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(100)
        self.socket.connect(os.environ["PYDAMON_SOCKET"])
        self.fds: list[int] = []

    def ask(self, op: int, *arguments: int, fds: Sequence[int] = ()) -> Answer:
        """Status, values and text of the reply."""
        packet = REQUEST.pack(op, 0, 1, *arguments, *(0,) * (ARGUMENTS - len(arguments)))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self.socket.sendmsg([packet], rights)
        data, new, _, _ = socket.recv_fds(self.socket, 1024, 1)
        self.fds += new
        if len(data) < REPLY.size:
            return -99, (), "closed"
        _, status, _, *values = REPLY.unpack_from(data)
        return status, tuple(values), data[REPLY.size :].decode()

    def session(self, regions: int = 64, targets: int = 4) -> memoryview:
        """Open a session: its shared memory."""
        assert self.ask(Op.HELLO, VERSION, fingerprint())[0] == 0
        status, values, text = self.ask(Op.OPEN, regions, targets)
        assert status == 0, text
        self.top_shift, self.user_entries = values[:2]
        placed = areas(regions, targets, BLOCK.itemsize, ctypes.sizeof(Pace))
        return memoryview(mmap.mmap(self.fds[-1], placed["all"][1]))

    def target(self, pidfd: int, pagemap: int, index: int = 0) -> Answer:
        return self.ask(Op.TARGET, index, fds=(pidfd, pagemap))


def _pagemap(pid: int) -> int:
    return os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)


def _sleeper(*words: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(words or ("sleep", "100"))
    time.sleep(0.1)
    return child


def monitor(pid: int) -> dict[str, Any]:
    """Watch a process as a user does."""
    begin_s = time.process_time()
    try:
        with pydamon.monitor(pid, engine="sampling", children=False) as mon:
            *_, last = mon.run("3s")
            session: Any = mon._session  # type: ignore[attr-defined]
            daemon_ns = getattr(session.clock, "daemon_ns", 0)
    except pydamon.PydamonError as error:
        return {"error": str(error)}
    cpu_s = time.process_time() - begin_s
    return {
        "probe": mon.probe_name,
        "reasons": sorted(mon.fallback_reasons),
        "bytes": last.working_set(),
        "own_s": cpu_s,
        "daemon_s": daemon_ns / 1e9,
    }


def scan(pid: int) -> dict[str, Any]:
    """The pages of the largest mapping."""
    return {"pages": [bits.hex() for bits in pages_of(DaemonSession(), pid)]}


def pages_of(session: Any, pid: int) -> tuple[bytes, bytes]:
    """Which pages of the largest mapping are present, and accessed: packed bits."""
    start, end = _largest(pid)
    process = Process(pid)
    table = pydamon.MappingTable((pydamon.Mapping(start, end, "rw-p", ""),))
    with session:
        session.set_targets([process], [table])
        bits = session.scan(0, start, end, clear=False)
    process.close()
    return np.packbits(bits.present).tobytes(), np.packbits(bits.accessed).tobytes()


def _largest(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    spans = [tuple(int(n, 16) for n in line.split()[0].split("-")) for line in lines]
    start, end = max(spans, key=lambda span: span[1] - span[0])
    return start, end


def others(pid: int) -> dict[str, Any]:
    """Another user's process, with a descriptor that is to stand for its pagemap."""
    peer = Peer()
    peer.session()
    child = _sleeper()
    try:
        answers = {
            "own pagemap": peer.target(os.pidfd_open(pid), _pagemap(os.getpid())),
            "null": peer.target(os.pidfd_open(pid), os.open("/dev/null", os.O_RDONLY)),
            "maps": peer.target(os.pidfd_open(pid), os.open("/proc/self/maps", os.O_RDONLY)),
            "no pidfd": peer.target(os.open("/dev/null", os.O_RDONLY), _pagemap(os.getpid())),
            "other own": peer.target(os.pidfd_open(child.pid), _pagemap(os.getpid())),
            "own": peer.target(os.pidfd_open(child.pid), _pagemap(child.pid)),
        }
    finally:
        child.kill()
        child.wait()
    try:
        _pagemap(pid)
        opened = True
    except PermissionError:
        opened = False
    return {"answers": answers, "opened": opened}


def setuid(program: int) -> dict[str, Any]:
    """Watch a process that then runs a setuid program; `PROGRAM` names it."""
    del program
    words = ["sh", "-c", 'read line; exec "$PROGRAM" 100']
    child = subprocess.Popen(words, stdin=subprocess.PIPE)
    assert child.stdin is not None
    time.sleep(0.2)
    peer = Peer()
    memory = peer.session()
    pidfd, pagemap = os.pidfd_open(child.pid), _pagemap(child.pid)
    first = peer.target(pidfd, pagemap)
    placed = areas(64, 4, BLOCK.itemsize, ctypes.sizeof(Pace))
    before = _scan_at(peer, memory, placed, 0)
    child.stdin.write(b"\n")
    child.stdin.flush()
    for _ in range(50):
        time.sleep(0.1)
        if "sh" not in Path(f"/proc/{child.pid}/comm").read_text():
            break
    euid = Path(f"/proc/{child.pid}/status").read_text().split("Uid:")[1].split()[1]
    after = _scan_at(peer, memory, placed, 0)
    again = peer.target(pidfd, pagemap)
    time.sleep(1.2)
    later = peer.ask(Op.ADVISE, 0, 0)
    child.kill()  # its real user is still this one
    child.wait()
    return {
        "first": first,
        "before": before,
        "euid": int(euid),
        "after": after,
        "again": again,
        "later": later,
    }


def _scan_at(peer: Peer, memory: memoryview, placed: dict[str, Any], address: int) -> int:
    """The word about the highest table that maps an address."""
    at = placed["places"][0]
    memory[at : at + 16] = struct.pack("<2Q", address, 0)
    assert peer.ask(Op.SCAN, peer.top_shift, 1)[0] == 0
    at = placed["parents"][0]
    return int.from_bytes(memory[at : at + 2], "little")


def undumpable(pid: int) -> dict[str, Any]:
    """Processes that may not be dumped, and one that may not be any more."""
    del pid
    code = "print(flush=True); input(); ctypes.CDLL(None).prctl(4,0); print(flush=True); input()"
    code = f"import ctypes; {code}"
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        peer = Peer()
        peer.session()
        child.stdout.readline()
        pidfd, pagemap = os.pidfd_open(child.pid), _pagemap(child.pid)
        first = peer.target(pidfd, pagemap)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        time.sleep(1.2)
        after = peer.ask(Op.ADVISE, 0, 0)
        again = peer.target(pidfd, pagemap)
    finally:
        child.kill()
        child.wait()
    dead = peer.target(pidfd, pagemap)
    return {"first": first, "after": after, "again": again, "dead": dead}


def namespace(pid: int) -> dict[str, Any]:
    """From a user namespace of its own: the same user's process outside."""
    if _libc.unshare(_NEW_USER):
        return {"skip": os.strerror(ctypes.get_errno())}
    answer = monitor(pid)
    peer = Peer()
    peer.session()
    return {"monitor": answer, "raw": peer.target(os.pidfd_open(pid), _pagemap(os.getpid()))}


def forged(seed: int) -> dict[str, Any]:
    """Random content of the shared memory, and kernel addresses, in a session of ours."""
    rng = random.Random(seed)
    child = _sleeper()
    peer = Peer()
    regions = 256
    memory = peer.session(regions)
    placed = areas(regions, 4, BLOCK.itemsize, ctypes.sizeof(Pace))
    levels = range(PAGE_SHIFT, peer.top_shift + 1, LEVEL_BITS)
    try:
        assert peer.target(os.pidfd_open(child.pid), _pagemap(child.pid))[0] == 0
        statuses = set()
        for _ in range(100):
            memory[:] = rng.randbytes(len(memory))
            statuses.add(peer.ask(Op.BEGIN, regions, 3, 0, 1, 2, rng.randrange(16), 9)[0])
            statuses.add(peer.ask(Op.SETTLE, regions, 128)[0])
            statuses.add(peer.ask(Op.SCAN, rng.choice(levels), 512, rng.randrange(16))[0])
        memory[:] = bytes(len(memory))
        at, begin = placed["places"][0], placed["marks"][0]
        kernel, tables = 0xFFFF_8880_0000_0000, {}
        for shift in levels:
            marks = []
            for address in (kernel, kernel % (peer.user_entries << peer.top_shift)):
                memory[at : at + 16] = struct.pack("<2Q", address, 0)
                assert peer.ask(Op.SCAN, shift, 1)[0] == 0
                marks.append(bytes(memory[begin : begin + 1024]))
            tables[shift] = marks[0] == marks[1]
        upper = marks[0][2 * peer.user_entries :]  # of the highest table: the kernel's part
    finally:
        child.kill()
        child.wait()
    return {"statuses": sorted(statuses), "same": tables, "upper": any(upper)}


def fuzz(count: int) -> dict[str, Any]:
    """Messages that make no sense, on as many connections as it takes."""
    rng = random.Random(count)
    ended = 0
    peer = Peer()
    for _ in range(count):
        size = rng.choice([0, 1, REQUEST.size - 1, REQUEST.size, REQUEST.size, REQUEST.size + 1])
        data = bytearray(rng.randbytes(size))
        if size == REQUEST.size and rng.random() < 0.7:
            values = rng.choices([0, 1, 64, 1 << 14, 1 << 32, (1 << 64) - 1], k=ARGUMENTS)
            data = bytearray(REQUEST.pack(rng.randrange(10), 0, 0, *values))
        fds = [rng.choice((0, 1, peer.socket.fileno())) for _ in range(rng.choice([0, 0, 1, 2, 3]))]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            peer.socket.sendmsg([bytes(data)], rights)
            data, new, _, _ = socket.recv_fds(peer.socket, 1024, 4)  # type: ignore[assignment]
            for fd in new:
                os.close(fd)
            alive = len(data) >= REPLY.size and REPLY.unpack_from(data)[1] != -2
        except OSError:
            alive = False
        if not alive:
            ended += 1
            peer.socket.close()
            peer = Peer()
    return {"ended": ended, "hello": peer.ask(Op.HELLO, VERSION, fingerprint())[0]}


def hold(seconds: int) -> dict[str, Any]:
    """Watch a process of ours, and say so, until killed."""
    child = _sleeper()
    peer = Peer()
    peer.session()
    answer = peer.target(os.pidfd_open(child.pid), _pagemap(child.pid))
    print(json.dumps({"answer": answer, "child": child.pid}), flush=True)
    time.sleep(seconds)
    return {}


def crowd(daemon: int) -> dict[str, Any]:
    """From root: 50 users, each of whom monitors a process of theirs with much appetite.

    The CPU time of the daemon, whose pid is given, over a while in which all have begun; and the
    working set that each sees at the end, with how many snapshots came in that time.
    """
    stop, stopped = os.pipe()
    pipes = []
    for number in range(50):
        read, write = os.pipe()
        if not os.fork():
            try:
                os.close(stopped)
                answer = _in_crowd(_FIRST_OF_CROWD + number, write, stop)
            except BaseException as error:  # whatever it is, the parent is to say so
                answer = {"error": repr(error)}
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        os.close(write)
        pipes.append(os.fdopen(read, "rb"))
    begun = [pipe.read(1) for pipe in pipes]
    cpu_s, begin_s = _cpu_s(daemon), time.monotonic()
    time.sleep(8)
    cpu_s, passed_s = _cpu_s(daemon) - cpu_s, time.monotonic() - begin_s
    os.close(stopped)
    users = [json.loads(pipe.read().removeprefix(b"+")) for pipe in pipes]
    return {"begun": begun.count(b"+"), "cpu": cpu_s / passed_s, "users": users}


def _in_crowd(uid: int, told: int, stop: int) -> dict[str, Any]:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # as if a login had started it
    parent, target = os.getpid(), os.fork()
    if not target:
        memory = np.zeros(_CROWDED_BYTES, np.uint8)
        memory[:: mmap.PAGESIZE] = 1
        while os.getppid() == parent:
            memory[: _CROWDED_BYTES // 2 : mmap.PAGESIZE] += 1
            time.sleep(0.05)
        os._exit(0)
    count, used = -1, 0
    try:
        with pydamon.monitor(
            target, engine="sampling", probe="daemon", children=False, sample="5ms", aggr="200ms",
            cpu_budget_percent=2,
        ) as mon:  # fmt: skip
            for snapshot in mon:
                count, used = count + 1, snapshot.working_set()
                if not count:
                    os.write(told, b"+")
                if select.select([stop], [], [], 0)[0]:
                    break
    finally:
        os.kill(target, signal.SIGKILL)
    return {"snapshots": count, "bytes": used}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connections(count: int) -> dict[str, Any]:
    """So many sessions at once."""
    peers = []
    texts = []
    for _ in range(count):
        peer = Peer()
        peers.append(peer)
        status, _, text = peer.ask(Op.HELLO, VERSION, fingerprint())
        if status:
            texts.append(text)
    return {"refused": texts}


_WHAT: dict[str, Callable[[int], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        *(monitor, scan, others, setuid, undumpable, namespace),
        *(forged, fuzz, hold, connections, crowd),
    )
}

if __name__ == "__main__":
    print(json.dumps(_WHAT[sys.argv[1]](int(sys.argv[2]))))

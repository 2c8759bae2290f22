"""Messages to the daemon, with a session that only takes notes: no privilege is needed.

Private names: clients send no such messages.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._daemon import main, server
from pydamon._daemon.limits import Limits, Usage
from pydamon._daemon.machine import Malformed, Refused
from pydamon._daemon.protocol import (
    ARGUMENTS,
    MAX_REGIONS,
    REPLY,
    REQUEST,
    VERSION,
    Op,
    Status,
    areas,
)
from pydamon._daemon.session import within

_FINGERPRINT = 12345
_REGIONS, _TARGETS = 64, 4


class _Kernel:
    def __init__(self) -> None:
        self.plan = {"fingerprint": _FINGERPRINT, "user_entries": 256}
        self.facts = {"top_shift": 39, "young": 0}


class _Target:
    pid = 1


class _Session:
    """What a session is to the server; it checks numbers as the real one does."""

    takes_looks = True

    def __init__(self, kernel: Any, regions: int, targets: int) -> None:
        self.regions, self.capacity = regions, targets
        self.memory_fd = os.memfd_create("test")
        self.targets: dict[int, tuple[int, int]] = {}

    def check_targets(self) -> None:
        pass

    def tell_gone(self) -> None:
        pass

    def set_target(self, index: int, pidfd: int, pagemap: int, uid: int) -> _Target:
        if pidfd % 2:
            raise Refused("odd")
        for fd in self.targets.pop(index, ()):
            os.close(fd)
        self.targets[index] = (pidfd, pagemap)
        return _Target()

    def step(self, first: int, second: int, *_: int) -> tuple[int, ...]:
        within(first, self.regions)
        within(second, 128)
        return (first, second)

    def close(self) -> None:
        os.close(self.memory_fd)
        for pair in self.targets.values():
            for fd in pair:
                os.close(fd)


@pytest.fixture(autouse=True, scope="module")
def _without_kernel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "Session", _Session)
        steps = (Op.BEGIN, Op.LOOK, Op.SETTLE, Op.SCAN, Op.ADVISE)
        patch.setattr(server, "_STEPS", dict.fromkeys(steps, _Session.step))
        patch.setattr(server, "log", lambda *_, **__: None)
        yield


@contextmanager
def _connected(usage: Usage) -> Iterator[socket.socket]:
    """A connection to a peer's thread, which has ended afterwards."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer = server._Peer(theirs, _Kernel(), usage)  # type: ignore[arg-type]
    thread = threading.Thread(target=peer.run)
    thread.start()
    ours.settimeout(10)
    try:
        yield ours
    finally:
        ours.close()
        thread.join(10)
        assert not thread.is_alive()


def _usage() -> Usage:
    return Usage(Limits(user_cpu=100.0, cpu=100.0, burst_s=1e6))


def _send(connection: socket.socket, data: bytes, fds: list[int]) -> int:
    """The status of the reply; that of a malformed message if there is none."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    try:
        connection.sendmsg([data], rights)
        reply, new, _, _ = socket.recv_fds(connection, 1024, 2)
    except OSError:
        return Status.ENDED
    for fd in new:
        os.close(fd)
    if len(reply) < REPLY.size:
        return Status.ENDED
    status: int = REPLY.unpack_from(reply)[1]
    return status


def _request(op: int, *arguments: int, flags: int = 0) -> bytes:
    return REQUEST.pack(op, flags, 1, *arguments, *(0,) * (ARGUMENTS - len(arguments)))


def _open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_session_begins_with_the_version_and_its_size() -> None:
    with _connected(_usage()) as connection:
        assert _send(connection, _request(Op.HELLO, VERSION, _FINGERPRINT), []) == Status.OK
        assert _send(connection, _request(Op.OPEN, _REGIONS, _TARGETS), []) == Status.OK
        assert _send(connection, _request(Op.BEGIN, 64, 3), []) == Status.OK


@pytest.mark.parametrize(
    ("data", "fds", "status"),
    [
        (_request(Op.HELLO, VERSION, _FINGERPRINT + 1), 0, Status.REFUSED),
        (_request(Op.HELLO, VERSION + 1, _FINGERPRINT), 0, Status.REFUSED),
        (_request(Op.OPEN, MAX_REGIONS + 1, 1), 0, Status.REFUSED),
        (_request(Op.OPEN, 0, 1), 0, Status.REFUSED),
        (_request(Op.BEGIN, 1), 0, Status.ENDED),
        (_request(Op.HELLO, VERSION, _FINGERPRINT, flags=1), 0, Status.ENDED),
        (_request(99), 0, Status.ENDED),
        (_request(0), 0, Status.ENDED),
        (_request(Op.HELLO)[:-1], 0, Status.ENDED),
        (_request(Op.HELLO) + b"x", 0, Status.ENDED),
        (_request(Op.HELLO, VERSION, _FINGERPRINT), 1, Status.ENDED),
        (_request(Op.TARGET), 1, Status.ENDED),
        (_request(Op.TARGET), 3, Status.ENDED),
    ],
)
def test_what_makes_no_sense_is_refused(data: bytes, fds: int, status: Status) -> None:
    with _connected(_usage()) as connection:
        assert _send(connection, data, [0] * fds) == status


def test_numbers_out_of_range_end_the_connection() -> None:
    for numbers in ((_REGIONS + 1, 0), (1 << 63, 0), (0, 129), ((1 << 64) - 1,) * 2):
        with _connected(_usage()) as connection:
            _send(connection, _request(Op.OPEN, _REGIONS, _TARGETS), [])
            assert _send(connection, _request(Op.SETTLE, *numbers), []) == Status.ENDED


_NUMBERS = st.one_of(
    st.sampled_from([0, 1, 64, 1 << 14, 1 << 32, (1 << 64) - 1]), st.integers(0, 99)
)
_MESSAGES = st.one_of(
    st.binary(max_size=REQUEST.size + 8),
    st.builds(_request, st.integers(0, 12), _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS),
)


@given(st.lists(st.tuples(_MESSAGES, st.integers(0, 3)), max_size=12))
def test_no_message_kills_or_leaks(messages: list[tuple[bytes, int]]) -> None:
    usage, before = _usage(), _open_fds()
    with _connected(usage) as connection:
        _send(connection, _request(Op.OPEN, _REGIONS, _TARGETS), [])
        for data, fds in messages:
            if not data and not fds:
                continue  # the end of the connection
            assert _send(connection, data, [0] * fds) in tuple(Status)
    assert _open_fds() == before
    assert not usage._all.count.total()


@pytest.mark.long
def test_many_messages_kill_and_leak_nothing() -> None:
    rng = random.Random(19)
    usage, before, sent = _usage(), _open_fds(), 0
    while sent < 100_000:
        with _connected(usage) as connection:
            _send(connection, _request(Op.OPEN, _REGIONS, _TARGETS), [])
            status = Status.OK
            while status != Status.ENDED:
                numbers = rng.choices([0, 1, 3, 64, 65, 128, (1 << 64) - 1], k=ARGUMENTS)
                data = _request(rng.choice([3, 4, 5, 6, 7, 8, rng.randrange(12)]), *numbers)
                if rng.random() < 0.02:
                    data = rng.randbytes(rng.randrange(1, 80))
                fds = [0] * (2 if data[0] == Op.TARGET else rng.choice([0] * 50 + [1, 2, 3]))
                status = Status(_send(connection, data, fds))
                sent += 1
    assert _open_fds() == before
    assert not usage._all.count.total()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_nobody_takes_more_than_the_limits(steps: list[tuple[int, bool]]) -> None:
    limits = Limits(user_connections=3, connections=5)
    usage, held = Usage(limits), [0, 0, 0, 0]
    for uid, takes in steps:
        if takes:
            if held[uid] == 3 or sum(held) == 5:
                with pytest.raises(Refused, match=r"at most [35] connections"):
                    usage.take("connections", uid)
            else:
                usage.take("connections", uid)
                held[uid] += 1
        elif held[uid]:
            usage.give_back("connections", uid)
            held[uid] -= 1


def test_few_of_those_who_are_refused_hold_a_thread() -> None:
    usage = Usage(Limits(user_connections=0))
    with ExitStack() as stack:
        waiting = [stack.enter_context(_connected(usage)) for _ in range(4)]
        until = time.monotonic() + 10
        while usage._all.count["refusals"] < 4 and time.monotonic() < until:
            time.sleep(0.001)
        with _connected(usage) as fifth:
            assert fifth.recv(1000) == b""
        waiting[0].send(_request(Op.HELLO, VERSION, _FINGERPRINT))
        assert waiting[0].recv(1000).endswith(b"a user has at most 0 connections")
    assert not usage._all.count.total()


def test_who_used_more_cpu_time_than_allowed_waits() -> None:
    usage = Usage(Limits(user_cpu=0.1, cpu=0.5, burst_s=0.1))
    for uid in (1, 2):
        usage.take("connections", uid)
    assert usage.charge(1, 50_000_000) == 0
    assert usage.charge(1, 100_000_000) == pytest.approx(0.5, abs=0.1)
    assert usage.charge(2, 1_000_000) == pytest.approx(0.1, abs=0.1)  # all together, too


@given(st.integers(1, 1 << 14), st.integers(1, 256), st.integers(8, 400), st.integers(8, 400))
def test_parts_of_the_shared_memory_do_not_overlap(
    regions: int, targets: int, block: int, pace: int
) -> None:
    placed = areas(regions, targets, block, pace)
    _, total = placed.pop("all")
    end = 0
    for offset, size in sorted(placed.values()):
        assert offset >= end
        assert offset % 8 == 0
        end = offset + size
    assert end <= total


def test_the_socket_of_a_dead_daemon_is_replaced_but_no_other_file(tmp_path: Path) -> None:
    with main._listener(str(tmp_path / "socket")):
        pass
    with main._listener(str(tmp_path / "socket")) as listener:
        assert listener.getsockname() == str(tmp_path / "socket")
        with pytest.raises(OSError, match="another daemon"):
            main._listener(str(tmp_path / "socket"))
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="in use"):
        main._listener(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "kept"


def test_a_number_in_range_is_itself() -> None:
    assert within(3, 3) == 3
    with pytest.raises(Malformed):
        within(4, 3)

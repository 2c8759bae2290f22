"""The socket: a thread for each peer, so that a peer that stalls holds up nobody else."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .limits import Usage
from .machine import Kernel, Refused
from .protocol import (
    ARMED_BLOCKS,
    MAX_REGIONS,
    MAX_TARGETS,
    RANGES,
    REPLY,
    REQUEST,
    TABLES,
    TEXT_BYTES,
    VERSION,
    Op,
    Status,
)
from .session import Session

__all__ = ["log", "serve"]

_CREDENTIALS = struct.Struct("3i")
_SEND_S = 1
_FD = struct.Struct("i")
_CODES = frozenset(Op)
_MOST_LINES = 30
"""Lines of the log for one connection."""


class _Request(NamedTuple):
    code: Op
    number: int
    arguments: tuple[int, ...]
    fds: list[int]


class _Malformed(Exception):  # noqa: N818
    """A message that no client of ours sends: the connection ends."""


def log(event: str, **values: object) -> None:
    """A line for whoever reads the journal: numbers and words of our own only."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    sys.stderr.write(f"{event} {words}\n")


def serve(listener: socket.socket, kernel: Kernel, usage: Usage) -> None:
    """Accept peers until the process is told to end."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            log("error", at="accept", errno=error.errno)
            time.sleep(0.1)  # out of descriptors, perhaps
            continue
        peer = _Peer(connection, kernel, usage)
        try:
            threading.Thread(target=peer.run, daemon=True).start()
        except RuntimeError:
            connection.close()


class _Peer:
    """One connection, and its session once there is one."""

    def __init__(self, connection: socket.socket, kernel: Kernel, usage: Usage) -> None:
        self._connection, self._kernel, self._usage = connection, kernel, usage
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self._pid, self._uid, _ = _CREDENTIALS.unpack(credentials)
        self._session: Session | None = None
        self._targets = self._cpu_ns = self._lines = 0
        self._cost_ns = 0

    def run(self) -> None:
        """Serve the peer until it leaves, makes no sense, or is idle for too long."""
        with self._connection:
            timeouts = (
                (socket.SO_RCVTIMEO, self._usage.limits.idle_s),
                (socket.SO_SNDTIMEO, _SEND_S),
            )
            for option, seconds in timeouts:
                value = struct.pack("qq", int(seconds), 0)
                self._connection.setsockopt(socket.SOL_SOCKET, option, value)
            try:
                self._usage.connect(self._uid)
            except Refused as error:
                self._log("refused", why=error)
                self._try_reply(0, Status.ENDED, str(error))
                return
            try:
                while self._serve_one():
                    pass
            except OSError as error:
                self._log("error", errno=error.errno)
            finally:
                if self._session is not None:
                    self._session.close()
                    self._log("close", cpu_ms=self._cpu_ns // 10**6)
                self._usage.disconnect(self._uid, self._targets)

    def _serve_one(self) -> bool:
        """Answer a request; False at the end."""
        try:
            data, control, flags, _ = self._connection.recvmsg(
                REQUEST.size, socket.CMSG_SPACE(2 * _FD.size), socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False  # idle
        begin_ns = time.thread_time_ns()
        fds = _descriptors(control)
        request: _Request | None = None
        try:
            if not data and not fds:
                return False
            request = _parsed(data, flags, fds)
            values, sent = self._answer(request)
        except Exception as error:  # whatever a peer makes go wrong ends its request only
            # To close a file may take as long as its owner likes: this thread has the time.
            for fd in fds:
                os.close(fd)
            self._cost_ns = time.thread_time_ns() - begin_ns
            return self._report(request, error)
        self._cost_ns = time.thread_time_ns() - begin_ns
        self._reply(request.number, values, sent)
        self._pay()
        return True

    def _report(self, request: _Request | None, error: Exception) -> bool:
        """Tell the peer and the journal what was wrong; False if the connection ends."""
        code, number = (request.code, request.number) if request else (0, 0)
        malformed = not isinstance(error, Refused | OSError)
        text = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        self._log("malformed" if malformed else "refused", op=code, why=text)
        if malformed:
            self._try_reply(number, Status.ENDED, text)
            return False
        if not self._try_reply(number, Status.REFUSED, text):
            return False
        self._pay()
        return True

    def _pay(self) -> None:
        """Wait until this user's budget, and that of all, has room for the next request."""
        self._cpu_ns += self._cost_ns
        wait_s = self._usage.charge(self._uid, self._cost_ns)
        if wait_s > 0:
            time.sleep(wait_s)

    def _answer(self, request: _Request) -> tuple[Sequence[int], Sequence[int]]:
        """Do what is asked: the values of the reply, and descriptors to send."""
        arguments, session = request.arguments, self._session
        if request.code == Op.HELLO:
            if arguments[:2] != (VERSION, self._kernel.plan["fingerprint"]):
                raise Refused("it is another version of pydamon: restart it")
            return (MAX_REGIONS, MAX_TARGETS), ()
        if request.code == Op.OPEN:
            return self._open(*arguments[:2])
        if session is None:
            raise _Malformed("a step without a session")
        session.check_targets()
        if request.code == Op.TARGET:
            values = self._set_target(session, arguments[0], request.fds)
        else:
            values = _STEPS[request.code](session, arguments)
        session.tell_gone()
        return values, ()

    def _open(self, regions: int, targets: int) -> tuple[Sequence[int], Sequence[int]]:
        if self._session is not None:
            raise _Malformed("a second session on a connection")
        if not 0 < regions <= MAX_REGIONS or not 0 < targets <= MAX_TARGETS:
            raise Refused(f"a session has at most {MAX_REGIONS} regions and {MAX_TARGETS} targets")
        self._session = Session(self._kernel, regions, targets)
        self._log("open", regions=regions)
        return (self._session.levels, self._session.takes_looks), (self._session.memory_fd,)

    def _set_target(self, session: Session, index: int, fds: list[int]) -> Sequence[int]:
        _within(index + 1, session.capacity)
        self._usage.add_targets(self._uid, 1)
        self._targets += 1
        try:
            target = session.set_target(index, *fds)
        finally:  # targets that ended meanwhile are given back as well
            self._usage.add_targets(self._uid, session.held - self._targets)
            self._targets = session.held
        self._log("watch", target=target.pid)
        return ()

    def _reply(self, number: int, values: Sequence[int], fds: Sequence[int]) -> None:
        padded = (*values, *(0,) * (6 - len(values)))
        packet = REPLY.pack(number, Status.OK, self._cost_ns, *padded)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(fd)) for fd in fds]
        self._connection.sendmsg([packet], rights)

    def _try_reply(self, number: int, status: Status, text: str) -> bool:
        """Report an error, if the peer listens."""
        packet = REPLY.pack(number, status, 0, *(0,) * 6) + text.encode()[:TEXT_BYTES]
        try:
            self._connection.send(packet)
        except OSError:
            return False
        return True

    def _log(self, event: str, **values: object) -> None:
        self._lines += 1
        if self._lines <= _MOST_LINES:
            log(event, uid=self._uid, pid=self._pid, **values)


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came with a message."""
    fds: list[int] = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = data[: len(data) // _FD.size * _FD.size]
            fds += (fd for (fd,) in _FD.iter_unpack(whole))
    return fds


def _parsed(data: bytes, flags: int, fds: list[int]) -> _Request:
    """The request in a message; raises `_Malformed`."""
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(data) != REQUEST.size:
        raise _Malformed("a message of the wrong size")
    code, zero, number, *arguments = REQUEST.unpack(data)
    if zero or code not in _CODES or len(fds) != (2 if code == Op.TARGET else 0):
        raise _Malformed("a message that makes no sense")
    return _Request(Op(code), number, tuple(arguments), fds)


def _within(number: int, most: int) -> int:
    if number > most:
        raise _Malformed("a number out of range")
    return number


def _tick(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    regions, number, check, pick = arguments[:4]
    _within(regions, session.regions)
    return (session.tick(regions, number & 0xFFFFFFFF, bool(check), bool(pick)),)


def _verify(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    return session.verify(_within(arguments[0], session.regions))


def _begin(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    regions, looks, *times, marks = arguments
    after_ns = tuple(min(ns, 1 << 62) for ns in times)
    _within(regions, session.regions)
    return session.begin(regions, looks, after_ns, first=bool(marks & 1), copies=bool(marks & 2))


def _look(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    del arguments
    session.look()
    return ()


def _settle(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    regions, changed = arguments[:2]
    session.settle(_within(regions, session.regions), _within(changed, ARMED_BLOCKS))
    return ()


def _scan(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    session.scan(arguments[0], _within(arguments[1], TABLES))
    return ()


def _advise(session: Session, arguments: Sequence[int]) -> Sequence[int]:
    done = session.advise(arguments[0], _within(arguments[1], RANGES))
    return (done + 1, 0) if done >= 0 else (0, -done)


_STEPS: dict[Op, Callable[[Session, Sequence[int]], Sequence[int]]] = {
    Op.TICK: _tick,
    Op.VERIFY: _verify,
    Op.BEGIN: _begin,
    Op.LOOK: _look,
    Op.SETTLE: _settle,
    Op.SCAN: _scan,
    Op.ADVISE: _advise,
}

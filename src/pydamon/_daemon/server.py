"""The socket: a thread for each peer, so that a peer that stalls holds up nobody else."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from .limits import Usage
from .machine import Kernel, Malformed, Refused
from .protocol import MAX_REGIONS, MAX_TARGETS, REPLY, REQUEST, TEXT_BYTES, VERSION, Op, Status
from .session import Session, within

_CREDENTIALS = struct.Struct("3i")
_SEND_S = 1
_CODES = frozenset(Op)
_MORE_THREADS = 32
_MOST_LINES = 30
"""Lines of the log for one connection."""


class _Request(NamedTuple):
    code: Op
    number: int
    arguments: tuple[int, ...]
    fds: list[int]


def log(event: str, **values: object) -> None:
    """A line for whoever reads the journal: numbers and words of our own only."""
    words = " ".join(f"{name}={value}" for name, value in values.items())
    with suppress(OSError):  # nobody reads it any more
        sys.stderr.write(f"{event} {words}\n")


def serve(listener: socket.socket, kernel: Kernel, usage: Usage) -> None:
    """Accept peers until the process is told to end."""
    while True:
        try:
            _start(listener.accept()[0], kernel, usage)
        except (OSError, RuntimeError) as error:  # out of descriptors or threads
            log("error", at="accept", why=error)
            time.sleep(0.1)


def _start(connection: socket.socket, kernel: Kernel, usage: Usage) -> None:
    """Serve a peer in a thread, which holds the only reference to what the peer has."""
    if threading.active_count() > usage.limits.connections + _MORE_THREADS:
        connection.close()  # those who are being refused may take a second each
        return
    threading.Thread(target=_Peer(connection, kernel, usage).run, daemon=True).start()


class _Peer:
    """One connection, and its session once there is one."""

    def __init__(self, connection: socket.socket, kernel: Kernel, usage: Usage) -> None:
        self._connection, self._kernel, self._usage = connection, kernel, usage
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self._pid, self._uid, _ = _CREDENTIALS.unpack(credentials)
        self._session: Session | None = None
        self._targets = self._cpu_ns = self._cost_ns = self._lines = 0
        self._seen_ns = 0  # of this thread's CPU time

    def run(self) -> None:
        """Serve the peer until it leaves, makes no sense, or is idle for too long."""
        with self._connection, suppress(OSError):  # the peer does not listen any more
            self._set_timeout(socket.SO_SNDTIMEO, _SEND_S)
            try:
                self._usage.take("connections", self._uid)
            except Refused as error:
                self._refuse(error)
                return
            try:
                self._set_timeout(socket.SO_RCVTIMEO, int(self._usage.limits.idle_s))
                while self._serve_one():
                    pass
            finally:
                if self._session is not None:
                    self._session.close()
                    self._log("close", cpu_ms=self._cpu_ns // 10**6)
                self._usage.give_back("targets", self._uid, self._targets)
                self._usage.give_back("connections", self._uid)

    def _refuse(self, error: Refused) -> None:
        """Say why at the peer's first request; nobody may hold many threads that way."""
        with suppress(Refused):
            self._usage.take("refusals", self._uid)
            try:
                self._set_timeout(socket.SO_RCVTIMEO, _SEND_S)
                self._connection.recv(REQUEST.size)
                self._report(None, error)
            finally:
                self._usage.give_back("refusals", self._uid)

    def _set_timeout(self, option: int, seconds: int) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("qq", seconds, 0))

    def _serve_one(self) -> bool:
        """Answer a request; False at the end."""
        try:
            data, fds, flags, _ = socket.recv_fds(self._connection, REQUEST.size, 2)
        except OSError:
            return False  # idle
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
            self._note_cost()
            return self._report(request, error)
        self._note_cost()
        self._reply(request.number, values, sent)
        self._pay()
        return True

    def _note_cost(self) -> None:
        """This request's CPU time: all since the one before, with the reply to that."""
        now_ns = time.thread_time_ns()
        self._cost_ns, self._seen_ns = now_ns - self._seen_ns, now_ns

    def _report(self, request: _Request | None, error: Exception) -> bool:
        """Tell the peer and the journal what was wrong; False if the connection ends."""
        code, number = (request.code, request.number) if request else (0, 0)
        goes_on = isinstance(error, Refused | OSError)
        text = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        self._log("refused" if goes_on else "malformed", op=code, why=text)
        self._reply(number, status=Status.REFUSED if goes_on else Status.ENDED, text=text)
        if request is not None:
            self._pay()
        return goes_on

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
            return (MAX_REGIONS, MAX_TARGETS, self._kernel.facts["young"] != 0), ()
        if request.code == Op.OPEN:
            return self._open(*arguments[:2])
        if session is None:
            raise Malformed("a step without a session")
        session.check_targets()
        if request.code == Op.TARGET:
            values = self._set_target(session, arguments[0], request.fds)
        else:
            values = _STEPS[request.code](session, *arguments)
        session.tell_gone()
        return values, ()

    def _open(self, regions: int, targets: int) -> tuple[Sequence[int], Sequence[int]]:
        if self._session is not None:
            raise Malformed("a second session on a connection")
        if not 0 < regions <= MAX_REGIONS or not 0 < targets <= MAX_TARGETS:
            raise Refused(f"a session has at most {MAX_REGIONS} regions and {MAX_TARGETS} targets")
        self._session = Session(self._kernel, regions, targets)
        self._log("open", regions=regions)
        facts, looks = self._kernel.facts, self._session.takes_looks
        values = facts["top_shift"], self._kernel.plan["user_entries"], looks
        return values, (self._session.memory_fd,)

    def _set_target(self, session: Session, index: int, fds: list[int]) -> Sequence[int]:
        within(index + 1, session.capacity)
        self._usage.take("targets", self._uid)
        self._targets += 1
        try:
            target = session.set_target(index, fds[0], fds[1], self._uid)
        finally:  # targets that ended meanwhile are given back as well
            self._usage.give_back("targets", self._uid, self._targets - len(session.targets))
            self._targets = len(session.targets)
        self._log("watch", target=target.pid)
        return ()

    def _reply(
        self,
        number: int,
        values: Sequence[int] = (),
        fds: Sequence[int] = (),
        status: Status = Status.OK,
        text: str = "",
    ) -> None:
        padded = (*values, *(0,) * (6 - len(values)))
        packet = REPLY.pack(number, status, self._cost_ns, *padded) + text.encode()[:TEXT_BYTES]
        socket.send_fds(self._connection, [packet], list(fds))

    def _log(self, event: str, **values: object) -> None:
        self._lines += 1
        if self._lines <= _MOST_LINES:
            log(event, uid=self._uid, pid=self._pid, **values)


def _parsed(data: bytes, flags: int, fds: list[int]) -> _Request:
    """The request in a message; raises `Malformed`."""
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(data) != REQUEST.size:
        raise Malformed("a message of the wrong size: another version of pydamon?")
    code, zero, number, *arguments = REQUEST.unpack(data)
    if zero or code not in _CODES or len(fds) != (2 if code == Op.TARGET else 0):
        raise Malformed("a message that makes no sense")
    return _Request(Op(code), number, tuple(arguments), fds)


_STEPS: dict[Op, Callable[..., tuple[int, ...]]] = {
    Op.BEGIN: Session.begin,
    Op.LOOK: Session.look,
    Op.SETTLE: Session.settle,
    Op.SCAN: Session.scan,
    Op.ADVISE: Session.advise,
}

"""A client of redis. It runs as a script, and uses the standard library only.

    redis_load.py SOCKET hot|scattered|uniform RATE_HZ SEED

It fills the server with 300,000 values of 1,000 bytes, and prints a line. Then it requests values
at the given rate. With `hot` and `scattered`, 9 of 10 requests are for the same 10,000 values,
which were written in a row or are scattered; with `uniform`, all values are equally likely.

With a rate of 0, each line of its input is a number of seconds, in which it makes one request after
the other. It answers with a line of JSON: the number of requests, and percentiles of their latency
(us).
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time

__all__ = ["main"]

_KEYS, _HOT = 300_000, 10_000
_VALUE = b"x" * 1000
_ANSWER_BYTES = len(b"$1000\r\n\r\n") + len(_VALUE)
_BATCH = 50
_PERCENTILES = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}


class _Client:
    def __init__(self, path: str, load: str, seed: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._rng = random.Random(seed)
        self._gets = [_encode(b"GET", b"key:%09d" % number) for number in range(_KEYS)]
        order = list(range(_KEYS))
        if load == "scattered":
            self._rng.shuffle(order)
        self._favoured = order[:_HOT]
        self._uniform = load == "uniform"

    def fill(self) -> None:
        for first in range(0, _KEYS, 500):
            numbers = range(first, min(_KEYS, first + 500))
            requests = (_encode(b"SET", b"key:%09d" % number, _VALUE) for number in numbers)
            self._socket.sendall(b"".join(requests))
            self._receive(len(numbers) * len(b"+OK\r\n"))

    def request_forever(self, rate_hz: float) -> None:
        due_s = time.monotonic()
        while True:
            due_s = max(due_s, time.monotonic() - 0.1) + _BATCH / rate_hz
            self._request(b"".join(self._next() for _ in range(_BATCH)), _BATCH)
            time.sleep(max(0, due_s - time.monotonic()))

    def measure(self, duration_s: float) -> dict[str, float]:
        latencies_ns = []
        now_ns = time.monotonic_ns()
        end_ns = now_ns + int(duration_s * 1e9)
        while now_ns < end_ns:
            request = self._next()
            begin_ns = time.monotonic_ns()
            self._request(request, 1)
            now_ns = time.monotonic_ns()
            latencies_ns.append(now_ns - begin_ns)
        latencies_ns.sort()
        percentiles = {
            name: latencies_ns[int(share * (len(latencies_ns) - 1))] / 1000
            for name, share in _PERCENTILES.items()
        }
        return {"requests": len(latencies_ns), **percentiles}

    def _next(self) -> bytes:
        rng = self._rng
        if self._uniform or rng.random() >= 0.9:
            return self._gets[int(rng.random() * _KEYS)]
        return self._gets[self._favoured[int(rng.random() * len(self._favoured))]]

    def _request(self, requests: bytes, count: int) -> None:
        self._socket.sendall(requests)
        self._receive(count * _ANSWER_BYTES)

    def _receive(self, left: int) -> None:
        while left:
            received = len(self._socket.recv(min(left, 1 << 16)))
            if not received:
                sys.exit("redis closed the connection")
            left -= received


def _encode(*words: bytes) -> bytes:
    parts = (b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n" % len(words) + b"".join(parts)


def main(path: str, load: str, rate_hz: float, seed: int) -> None:
    """Make requests until the end of the process."""
    client = _Client(path, load, seed)
    client.fill()
    print("ready", flush=True)
    if rate_hz:
        client.request_forever(rate_hz)
    for line in sys.stdin:
        print(json.dumps(client.measure(float(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))

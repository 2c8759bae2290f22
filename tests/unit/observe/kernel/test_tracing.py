"""Bytes of the kernel's events become columns, whatever tracepoints the kernel has."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import KernelTracer, ProbeUnavailable
from pydamon._observe.kernel.tracing import event_layout, events_of, raw_samples
from pydamon._observe.linux import ring
from pydamon._observe.linux.arch import numbers_in

COMMON = """ID: {number}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""
QUOTA = event_layout(
    "damos_esz",
    COMMON.format(number=747)
    + "\tfield:unsigned int scheme_idx;\toffset:12;\tsize:4;\tsigned:0;\n"
    + "\tfield:unsigned long esz;\toffset:16;\tsize:8;\tsigned:0;\n"
    + "\tfield:__data_loc unsigned char[] hits;\toffset:24;\tsize:4;\tsigned:0;\n",
)
TUNED = event_layout(
    "damon_monitor_intervals_tune",
    COMMON.format(number=745) + "\tfield:unsigned long sample_us;\toffset:8;\tsize:8;\tsigned:0;\n",
)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 10**12), st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(1, 9)
    )
)


def record(time_ns: int, raw: bytes) -> bytes:
    padded = raw + b"\0" * (-(len(raw) + 4) % 8)
    return struct.pack("=IHHqI", 9, 0, 20 + len(padded), time_ns, len(padded)) + padded


def quota(time_ns: int, scheme: int, size: int, pid: int = 7) -> bytes:
    raw = struct.pack("=HHiIIQI", 747, 0, pid, 0, scheme, size, 0)
    return record(time_ns, raw)


def tuned(time_ns: int, sample_us: int) -> bytes:
    return record(time_ns, struct.pack("=HHiQ", 745, 0, 7, sample_us))


def test_fields_are_those_of_the_format_without_arrays() -> None:
    assert QUOTA.fields == ("scheme_idx", "esz")
    with pytest.raises(ProbeUnavailable, match="damos_esz"):
        event_layout("damos_esz", "format:\n")


@given(EVENTS)
def test_every_event_is_told_with_its_values(rows: list[tuple[int, int, int, int]]) -> None:
    data = b"".join(quota(*row) for row in rows) + tuned(5, 5000)
    samples, lost = raw_samples(data)
    assert not lost
    by_name = {events.name: events for events in events_of(samples, [QUOTA, TUNED])}
    assert by_name["damon_monitor_intervals_tune"].values["sample_us"].tolist() == [5000]
    assert ("damos_esz" in by_name) == bool(rows)
    if rows:
        events = by_name["damos_esz"]
        told = zip(
            events.time_ns.tolist(),
            events.values["scheme_idx"].tolist(),
            events.values["esz"].tolist(),
            events.kdamond.tolist(),
            strict=True,
        )
        limit = 2**63 - 1
        assert sorted(told) == sorted((t, n, min(size, limit), pid) for t, n, size, pid in rows)
        assert (np.diff(events.time_ns) >= 0).all()


@given(st.binary(max_size=200), st.integers(0, 60))
def test_bytes_that_are_cut_off_or_wrong_are_harmless(noise: bytes, cut: int) -> None:
    data = (quota(1, 0, 4096) + tuned(2, 5000))[: -cut or None] + noise
    samples, _ = raw_samples(data)
    for events in events_of(samples, [QUOTA, TUNED]):
        assert all(len(column) == len(events) for column in events.values.values())


def test_lost_events_are_told() -> None:
    _, lost = raw_samples(struct.pack("=IHHQQ", 2, 0, 24, 1, 3) + tuned(2, 5000))
    assert lost


def test_tracepoints_are_those_that_we_may_see(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As tracefs seems to an ordinary user: even root cannot look into what is no directory.
    hidden, seen = tmp_path / "hidden", tmp_path / "seen"
    hidden.touch()
    monkeypatch.setattr(ring, "_TRACING", (hidden, seen))
    with pytest.raises(ProbeUnavailable, match="no tracepoints of DAMON"):
        KernelTracer()
    with pytest.raises(ProbeUnavailable, match="no tracepoint damos_esz"):
        ring.tracepoint("damos_esz")
    event = seen / "events/damon/damos_esz"
    event.mkdir(parents=True)
    (event / "id").write_text("7\n")
    assert ring.tracepoints() == {"damos_esz": event}
    assert ring.tracepoint("damos_esz") == event
    with pytest.raises(ProbeUnavailable, match="cannot read the tracepoint damos_esz"):
        KernelTracer()


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0,2-3,8\n", [0, 2, 3, 8])]
)
def test_only_cpus_that_run_are_listened_to(text: str, cpus: list[int]) -> None:
    assert numbers_in(text) == cpus

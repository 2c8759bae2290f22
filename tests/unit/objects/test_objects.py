"""Objects: their names, and which of them are used."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pydamon._objects import Buffer, ObjectReport, find_buffers, watch
from pydamon._observe.linux.procfs import parse_maps, read_maps
from tests.integration.conftest import needs

MIB = 1 << 20


def named(**namespace: object) -> dict[str, Buffer]:
    """The objects of a namespace by their best names."""
    return {buffer.name: buffer for buffer in find_buffers(namespace) if buffer.names}


def test_arrays_are_found_by_name_in_containers_and_attributes() -> None:
    class Model:
        def __init__(self) -> None:
            self.weights = {"first": np.ones(MIB)}

    a = np.ones(MIB, np.uint8)
    names = named(a=a, model=Model(), many=[np.ones(MIB, np.uint8), None])
    assert set(names) == {"a", "model.weights['first']", "many[0]"}
    assert names["a"].size == MIB
    assert names["model.weights['first']"].size == 8 * MIB


def test_views_count_to_what_they_keep_alive() -> None:
    a = np.ones(MIB, np.uint8)
    names = named(part=a[100_000:], a=a, again=a)
    (buffer,) = names.values()
    assert buffer.size == MIB
    assert set(buffer.names) == {"part", "a", "again"}


def test_parts_of_a_named_object_are_left_out() -> None:
    frame = pd.DataFrame({"x": np.ones(MIB), "y": np.ones(MIB, np.float32)})
    other, more = np.ones(MIB), np.ones(2 * MIB)
    names = named(more=more, column=frame["y"], frame=frame, other=other)
    assert set(names) == {"more", "frame", "other"}
    assert names["frame"].size == 12 * MIB


def test_tensors_of_a_model_have_the_names_that_torch_gives_them() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: it is large")

    class Block(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, deeper: int) -> None:
            super().__init__()
            self.inner = Block(deeper - 1) if deeper else torch.nn.Linear(512, 512)
            self.kept = torch.ones(MIB)

    weights = torch.ones(4 * MIB, dtype=torch.uint8)
    names = named(model=Block(5), weights=weights, half=weights[2 * MIB :], meta=weights.to("meta"))
    assert names["weights"].names == ("weights", "half")
    assert names["weights"].size == 4 * MIB
    deep = ".inner" * 6
    assert names[f"model{deep}.weight"].size == MIB
    assert names["model.kept"].size == names["model.inner.kept"].size == 4 * MIB


def test_small_objects_are_left_out() -> None:
    assert not named(a=np.ones(100), b=b"x" * 1000, c="x" * MIB, d=3)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: pd.DataFrame({"x": np.ones(MIB), "y": np.ones(MIB, np.float32)}), 12 * MIB),
        (lambda: pd.Series(np.ones(MIB)), 8 * MIB),
        (lambda: pa.table({"x": np.ones(MIB)}), 8 * MIB),
        (lambda: bytearray(MIB), MIB),
        (lambda: bytes(MIB), MIB),
    ],
)
def test_other_kinds_are_found(make: Callable[[], object], size: int) -> None:
    value = make()
    (buffer,) = named(value=value).values()
    assert (buffer.name, buffer.kind) == ("value", type(value).__name__)
    assert size <= buffer.size <= size + 4096


def test_objects_without_a_name_are_found_too() -> None:
    holder = [np.ones(MIB + 12_288, np.uint8)]
    (buffer,) = [buffer for buffer in find_buffers({}) if buffer.size == MIB + 12_288]
    assert buffer.name == "(unnamed)"
    del holder


def use_five_of_twenty(probe: str) -> tuple[dict[str, object], ObjectReport]:
    arrays = {f"a{i}": np.ones((2 + i % 5) << 17) for i in range(20)}
    for name in list(arrays):
        assert arrays[name].nbytes >= 2 * MIB
    used = [arrays[f"a{i}"] for i in (1, 4, 9, 13, 19)]
    with watch(arrays, probe=probe, cpu_budget_percent=20) as watching:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for array in used:
                array.sum()
            time.sleep(0.002)
    return dict(arrays), watching.report


@pytest.mark.live
@pytest.mark.parametrize(
    "probe",
    [
        pytest.param("exact", marks=needs("exact")),
        pytest.param("refs", marks=[needs("refs"), pytest.mark.long]),
    ],
)
def test_of_twenty_arrays_the_five_that_are_used_are_named(probe: str) -> None:
    arrays, report = use_five_of_twenty(probe)
    uses = [use for use in report if use.buffer.names]
    assert report.probe == probe
    assert {use.name for use in uses if use.state == "hot"} == {"a1", "a4", "a9", "a13", "a19"}
    if probe == "exact":
        assert {use.state for use in uses} == {"hot", "untouched"}
    assert len(uses) == 20
    total = sum(use.size for use in uses)
    assert total == sum(2 + i % 5 for i in range(20)) * MIB
    # No byte counts twice, and each lies in memory that can be written to.
    spans = sorted(span for use in uses for span in use.buffer.spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    mapped = [m for m in parse_maps(read_maps(os.getpid())).mappings if m.perms.startswith("rw")]
    inside = sum(max(0, min(e, m.end) - max(s, m.start)) for s, e in spans for m in mapped)
    assert inside == total
    del arrays


@pytest.mark.live
@needs("refs")
@pytest.mark.long
def test_refs_cannot_tell_new_objects_apart() -> None:
    namespace: dict[str, object] = {"old": np.ones(MIB)}
    with watch(namespace, probe="refs", cpu_budget_percent=20) as watching:
        namespace["new"] = np.ones(MIB)
        time.sleep(1.5)
    assert watching.report["new"].state == "unknown"
    assert watching.report["old"].state in ("untouched", "cold")
    with pytest.raises(KeyError):
        watching.report["neither"]


def test_an_unknown_probe_is_a_sentence() -> None:
    from pydamon import ProbeUnavailable

    with pytest.raises(ProbeUnavailable, match="cannot be watched"):
        watch({}, probe="writes ")

"""Writing the files that damo has beside a recording: see `damo_beside`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from pydamon._data.formats.damo_beside import ANONYMOUS, FOOTPRINTS, KDAMONDS, MAPPINGS, PAGE_BYTES
from pydamon._data.formats.damo_passed import probes_of
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import RecordingInfo
from pydamon._model.snapshot import Snapshot

__all__ = ["COLUMNS", "texts_beside"]

COLUMNS = {KDAMONDS: (), FOOTPRINTS: ("vsz_bytes", "rss_bytes"), MAPPINGS: ("mapping",)}
"""What each file holds, by its suffix."""
_SECOND_NS = 10**9
_NOTHING = {"shared": 0, "trs": 0, "lrs": 0, "drs": 0, "dt": 0}
"""Keys that damo needs in a footprint, and that recordings say nothing of."""


def texts_beside(info: RecordingInfo, chunks: Iterable[Recording]) -> dict[str, bytes]:
    """The content of each file by its suffix, with a moment a second.

    There is no file for which a recording has nothing. Recordings of several hosts have none: these
    files tell processes apart by their pid only.
    """
    footprints: list[dict[str, Any]] = []
    mappings: list[dict[str, Any]] = []
    pids: dict[int, None] = {}
    kinds: dict[str, None] = {}
    hosts: set[str] = set()
    for snapshot in _once_a_second(chunks, hosts):
        if len(hosts) > 1:
            return {}
        pids |= dict.fromkeys(target.pid for target in snapshot.targets)
        kinds |= dict.fromkeys(snapshot.passed.kinds if snapshot.passed else ())
        time_s = snapshot.end_ns / 1e9
        if sizes := _footprints(snapshot):
            footprints.append({"time": time_s, "footprints": sizes})
        procvmas = _mappings(snapshot)
        if procvmas and not (mappings and mappings[-1]["procvmas"] == procvmas):
            mappings.append({"time": time_s, "procvmas": procvmas})
    texts = {FOOTPRINTS: footprints, MAPPINGS: mappings}
    if footprints or mappings or len(kinds) > 1:
        texts[KDAMONDS] = [_kdamond(info, list(pids), list(kinds))]
    return {suffix: msgspec.json.encode(value) for suffix, value in texts.items() if value}


def _once_a_second(chunks: Iterable[Recording], hosts: set[str]) -> Iterator[Snapshot]:
    """The first snapshot that ends in each second; *hosts* gets the names of all hosts."""
    last = -1
    for chunk in chunks:
        hosts |= set(chunk.hosts)
        seconds = chunk.per_snapshot("end_ns") // _SECOND_NS
        is_next = np.append(seconds[:1] != last, seconds[1:] != seconds[:-1])
        for index in np.flatnonzero(is_next).tolist():
            yield chunk.snapshot(index)
        last = int(seconds[-1]) if len(seconds) else last


def _footprints(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "pid": target.pid,
            "footprint": {
                "size": footprint.vsz_bytes // PAGE_BYTES,
                "resident": footprint.rss_bytes // PAGE_BYTES,
                **_NOTHING,
            },
        }
        for target, footprint in zip(snapshot.targets, snapshot.footprints, strict=False)
        if footprint.vsz_bytes or footprint.rss_bytes
    ]


def _mappings(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "pid": target.pid,
            "vmas": [
                {
                    "start": mapping.start,
                    "end": mapping.end,
                    "name": "" if mapping.name == ANONYMOUS else mapping.name,
                }
                for mapping in target.mappings.mappings
            ],
        }
        for target in snapshot.targets
        if any(mapping.name for mapping in target.mappings.mappings)
    ]


def _kdamond(info: RecordingInfo, pids: list[int], kinds: list[str]) -> dict[str, Any]:
    """The parameters of a DAMON that would have made the recording."""
    attrs = info.attrs
    names = {"sample_us": "sampling_ns", "aggr_us": "aggregation_ns", "ops_update_us": "update_ns"}
    intervals = {key: f"{getattr(attrs, name) // 1000} us" for key, name in names.items()}
    context = {
        "ops": "vaddr",
        "targets": [{"pid": str(pid), "obsolete": False, "regions": []} for pid in pids],
        "intervals": intervals,
        "nr_regions": {"min": str(attrs.min_regions), "max": str(attrs.max_regions)},
        "probes": probes_of(kinds) if len(kinds) > 1 else [],
        "schemes": [],
    }
    return {"state": "off", "pid": None, "contexts": [context]}

"""pydamon: which memory a running program really uses.

    import pydamon

    with pydamon.monitor(pid) as mon:
        for snapshot in mon.run("10s"):
            print(snapshot.working_set(), snapshot.hottest(5))

Everything that the command line does is here in a few lines; names that do not stand below are
private and may change.
"""

from __future__ import annotations

from pydamon import analysis
from pydamon.core.attrs import Attrs
from pydamon.core.errors import (
    KernelError,
    ProbeError,
    ProbeUnavailable,
    PydamonError,
    RecordingError,
    SchemeError,
    TargetError,
    UsageError,
)
from pydamon.core.mappings import Mapping, MappingTable
from pydamon.core.snapshot import Cost, Snapshot, SnapshotRegion, Target
from pydamon.core.tuner import IntervalGoal
from pydamon.core.units import format_duration, format_size
from pydamon.engine import Monitor, simulate
from pydamon.probes import PROBES
from pydamon.probes.trace import Access, Phase, Trace
from pydamon.recording import (
    Recorder,
    Recording,
    RecordingFile,
    RecordingInfo,
    open_recording,
    read_recording,
)
from pydamon.schemes import (
    AccessPattern,
    AppliedScheme,
    AppliedSchemes,
    Destination,
    Filter,
    Goal,
    Guard,
    Quota,
    Scheme,
    SchemeStats,
    Watermarks,
    Weights,
    apply,
)
from pydamon.start import monitor, monitor_physical

__all__ = [
    "PROBES",
    "Access",
    "AccessPattern",
    "AppliedScheme",
    "AppliedSchemes",
    "Attrs",
    "Cost",
    "Destination",
    "Filter",
    "Goal",
    "Guard",
    "IntervalGoal",
    "KernelError",
    "Mapping",
    "MappingTable",
    "Monitor",
    "Phase",
    "ProbeError",
    "ProbeUnavailable",
    "PydamonError",
    "Quota",
    "Recorder",
    "Recording",
    "RecordingError",
    "RecordingFile",
    "RecordingInfo",
    "Scheme",
    "SchemeError",
    "SchemeStats",
    "Snapshot",
    "SnapshotRegion",
    "Target",
    "TargetError",
    "Trace",
    "UsageError",
    "Watermarks",
    "Weights",
    "analysis",
    "apply",
    "format_duration",
    "format_size",
    "monitor",
    "monitor_physical",
    "open_recording",
    "read_recording",
    "simulate",
]

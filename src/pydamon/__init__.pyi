from . import analysis, live
from .core.attrs import Attrs
from .core.errors import (
    KernelError,
    ProbeError,
    ProbeUnavailable,
    PydamonError,
    RecordingError,
    SchemeError,
    TargetError,
    UsageError,
)
from .core.mappings import Mapping, MappingTable
from .core.snapshot import Cost, Snapshot, SnapshotRegion, Target
from .core.tuner import IntervalGoal
from .core.units import format_duration, format_size
from .engine import Monitor, simulate
from .kernel import (
    KernelScheme,
    KernelSchemes,
    LruSortModule,
    LruSortParameters,
    ReclaimModule,
    ReclaimParameters,
    StatModule,
)
from .probes import PROBES
from .probes.trace import Access, Phase, Trace
from .recording import (
    Recorder,
    Recording,
    RecordingFile,
    RecordingInfo,
    open_recording,
    read_recording,
)
from .schemes import (
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
)
from .start import apply, monitor, monitor_physical

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
    "KernelScheme",
    "KernelSchemes",
    "LruSortModule",
    "LruSortParameters",
    "Mapping",
    "MappingTable",
    "Monitor",
    "Phase",
    "ProbeError",
    "ProbeUnavailable",
    "PydamonError",
    "Quota",
    "ReclaimModule",
    "ReclaimParameters",
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
    "StatModule",
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
    "live",
    "monitor",
    "monitor_physical",
    "open_recording",
    "read_recording",
    "simulate",
]

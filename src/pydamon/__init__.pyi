from . import analysis, export, live, objects
from ._act.apply import apply
from ._act.kernel import (
    KernelScheme,
    KernelSchemes,
    LruSortModule,
    LruSortParameters,
    ReclaimModule,
    ReclaimParameters,
    StatModule,
)
from ._act.runtime import AppliedScheme, AppliedSchemes
from ._act.schemes import read_damo_schemes, read_schemes
from ._data.formats.output import write_recording
from ._data.formats.reader import merge_recordings, open_recording, read_recording
from ._data.recording import Recorder, Recording, RecordingFile, RecordingInfo
from ._model.attrs import Attrs, IntervalGoal
from ._model.errors import (
    KernelError,
    ProbeError,
    ProbeUnavailable,
    PydamonError,
    RecordingError,
    SchemeError,
    TargetError,
    UsageError,
)
from ._model.mappings import Mapping, MappingTable
from ._model.schemes import (
    AccessPattern,
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
from ._model.snapshot import Cost, Snapshot, SnapshotRegion, Target
from ._model.units import format_duration, format_size
from ._observe.monitor import Monitor
from ._observe.probes import PROBES
from ._observe.probes.trace import Access, Phase, Trace
from ._observe.sampling import simulate
from ._observe.start import monitor, monitor_physical

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
    "export",
    "format_duration",
    "format_size",
    "live",
    "merge_recordings",
    "monitor",
    "monitor_physical",
    "objects",
    "open_recording",
    "read_damo_schemes",
    "read_recording",
    "read_schemes",
    "simulate",
    "write_recording",
]

from . import analysis, export, live, objects
from ._act.applied import Applied, AppliedScheme, Tried
from ._act.apply import apply
from ._act.kernel import (
    LruSortModule,
    LruSortParameters,
    ReclaimModule,
    ReclaimParameters,
    StatModule,
)
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
from ._observe.options import MonitorOptions
from ._observe.probes import PROBES
from ._observe.probes.trace import Access, Phase, Trace
from ._observe.sampling import simulate
from ._observe.start import monitor, monitor_physical
from ._record import record

__version__: str

__all__ = [
    "PROBES",
    "Access",
    "AccessPattern",
    "Applied",
    "AppliedScheme",
    "Attrs",
    "Cost",
    "Destination",
    "Filter",
    "Goal",
    "Guard",
    "IntervalGoal",
    "KernelError",
    "LruSortModule",
    "LruSortParameters",
    "Mapping",
    "MappingTable",
    "Monitor",
    "MonitorOptions",
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
    "Tried",
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
    "record",
    "simulate",
    "write_recording",
]

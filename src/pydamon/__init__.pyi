from . import (
    analysis,
    cache,
    containers,
    export,
    live,
    objects,
    owners,
    policies,
    probes,
    workloads,
)
from ._act.applied import Applied, AppliedScheme, Tried
from ._act.apply import apply
from ._act.kernel import (
    Kdamonds,
    LruSortModule,
    LruSortParameters,
    ModuleStatus,
    ReclaimModule,
    ReclaimParameters,
    StatModule,
    StatStatus,
)
from ._act.schemes import read_damo_kdamonds, read_damo_schemes, read_schemes
from ._data.formats.cpu_samples import CpuSample, read_cpu_samples
from ._data.formats.output import write_recording
from ._data.formats.reader import merge_recordings, open_recording, read_recording
from ._data.recording import (
    Recorder,
    Recording,
    RecordingFile,
    RecordingInfo,
)
from ._model.attrs import Attrs, IntervalGoal
from ._model.classify import RegionClasses
from ._model.cpu_use import CpuUse
from ._model.display import Displayable, Drawable
from ._model.errors import (
    KernelError,
    ProbeError,
    ProbeUnavailable,
    PydamonError,
    RecordingError,
    SchemeError,
    TargetError,
    TargetGoneError,
    UsageError,
)
from ._model.kernel_events import KernelEvents
from ._model.mappings import Mapping, MappingTable
from ._model.page_ages import AgeSums, PageAges
from ._model.page_map import PageMap, PageRuns
from ._model.passed import PassedBytes
from ._model.rates import Rate
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
from ._model.schemes.fields import Ns
from ._model.schemes.matching import Age, Bounds
from ._model.snapshot import Cost, Footprint, Snapshot, SnapshotRegion, Target
from ._model.units import Share, format_duration, format_size
from ._observe.kernel import KdamondSettings, KernelTarget
from ._observe.kernel.tracing import KernelTracer
from ._observe.monitor import Monitor, PageControl, PassedSource, SchemeRunner
from ._observe.options import CommonOptions, MonitorOptions
from ._observe.probes.registry import PROBES
from ._observe.probes.trace import Access, Phase, Trace
from ._observe.sampling import simulate
from ._observe.start import monitor, monitor_physical
from ._observe.targets import Layout
from ._observe.targets.selection import TargetSelection
from ._record import record

__version__: str

__all__ = [
    "PROBES",
    "Access",
    "AccessPattern",
    "Age",
    "AgeSums",
    "Applied",
    "AppliedScheme",
    "Attrs",
    "Bounds",
    "CommonOptions",
    "Cost",
    "CpuSample",
    "CpuUse",
    "Destination",
    "Displayable",
    "Drawable",
    "Filter",
    "Footprint",
    "Goal",
    "Guard",
    "IntervalGoal",
    "KdamondSettings",
    "Kdamonds",
    "KernelError",
    "KernelEvents",
    "KernelTarget",
    "KernelTracer",
    "Layout",
    "LruSortModule",
    "LruSortParameters",
    "Mapping",
    "MappingTable",
    "ModuleStatus",
    "Monitor",
    "MonitorOptions",
    "Ns",
    "PageAges",
    "PageControl",
    "PageMap",
    "PageRuns",
    "PassedBytes",
    "PassedSource",
    "Phase",
    "ProbeError",
    "ProbeUnavailable",
    "PydamonError",
    "Quota",
    "Rate",
    "ReclaimModule",
    "ReclaimParameters",
    "Recorder",
    "Recording",
    "RecordingError",
    "RecordingFile",
    "RecordingInfo",
    "RegionClasses",
    "Scheme",
    "SchemeError",
    "SchemeRunner",
    "SchemeStats",
    "Share",
    "Snapshot",
    "SnapshotRegion",
    "StatModule",
    "StatStatus",
    "Target",
    "TargetError",
    "TargetGoneError",
    "TargetSelection",
    "Trace",
    "Tried",
    "UsageError",
    "Watermarks",
    "Weights",
    "analysis",
    "apply",
    "cache",
    "containers",
    "export",
    "format_duration",
    "format_size",
    "live",
    "merge_recordings",
    "monitor",
    "monitor_physical",
    "objects",
    "open_recording",
    "owners",
    "policies",
    "probes",
    "read_cpu_samples",
    "read_damo_kdamonds",
    "read_damo_schemes",
    "read_recording",
    "read_schemes",
    "record",
    "simulate",
    "workloads",
    "write_recording",
]

from .cpu_samples import CpuSample, read_cpu_samples
from .format import COLUMNS, RecordingInfo
from .parts import Recorded, RecordingFile, parts_of
from .recording import Recording
from .writer import Recorder

__all__ = [
    "COLUMNS",
    "CpuSample",
    "Recorded",
    "Recorder",
    "Recording",
    "RecordingFile",
    "RecordingInfo",
    "parts_of",
    "read_cpu_samples",
]

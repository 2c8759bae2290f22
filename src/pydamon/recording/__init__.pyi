from .cpu_samples import CpuSample, read_cpu_samples
from .format import COLUMNS, RecordingInfo
from .formats import FORMATS
from .output import write_recording
from .parts import Recorded, RecordingFile, parts_of
from .reader import merge_recordings, open_recording, read_recording
from .recording import Recording
from .writer import Recorder

__all__ = [
    "COLUMNS",
    "FORMATS",
    "CpuSample",
    "Recorded",
    "Recorder",
    "Recording",
    "RecordingFile",
    "RecordingInfo",
    "merge_recordings",
    "open_recording",
    "parts_of",
    "read_cpu_samples",
    "read_recording",
    "write_recording",
]

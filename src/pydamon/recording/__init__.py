"""Recordings: an append-only file that survives its recorder, one long table, many formats."""

from pydamon.recording.cpu_samples import CpuSample, read_cpu_samples
from pydamon.recording.format import COLUMNS, RecordingInfo
from pydamon.recording.formats import FORMATS
from pydamon.recording.output import write_recording
from pydamon.recording.parts import Recorded, RecordingFile, parts_of
from pydamon.recording.reader import merge_recordings, open_recording, read_recording
from pydamon.recording.recording import Recording
from pydamon.recording.writer import Recorder

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

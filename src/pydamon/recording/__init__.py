"""Recordings: an append-only file that survives its recorder, and one long table out of it."""

from pydamon.recording.format import COLUMNS, RecordingInfo
from pydamon.recording.reader import RecordingFile, open_recording, read_recording
from pydamon.recording.recording import Recording
from pydamon.recording.writer import Recorder

__all__ = [
    "COLUMNS",
    "Recorder",
    "Recording",
    "RecordingFile",
    "RecordingInfo",
    "open_recording",
    "read_recording",
]

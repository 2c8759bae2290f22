from .file import AnyRecording, DerivedFile, RecordingFile, chunks_of
from .recording import Recording
from .schema import COLUMNS, RecordingInfo
from .writer import Recorder

__all__ = [
    "COLUMNS",
    "AnyRecording",
    "DerivedFile",
    "Recorder",
    "Recording",
    "RecordingFile",
    "RecordingInfo",
    "chunks_of",
]

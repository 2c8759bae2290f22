"""Times in which regions passed a filter, and the functions that ran in these times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.axis import SURVEY_WINDOWS
from pydamon._data.analysis.folding import fold_with_outline
from pydamon._data.analysis.series import TimeSeries, TimeSeriesFold, total_bytes
from pydamon._data.formats.cpu_samples import CpuSample
from pydamon._data.recording import AnyRecording
from pydamon._data.recording.cpu_use import use_of_words
from pydamon._data.recording.file import chunks_of
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.ranges import contains
from pydamon._model.runs import running_total

__all__ = [
    "FunctionShare",
    "Profile",
    "Times",
    "functions",
    "profile",
    "recorded_samples",
    "times",
]

_SAMPLES_AT_ONCE = 2**16


@dataclass(frozen=True)
class Times(Displayable):
    """Stretches of time: see `times`.

    Attributes
    ----------
    start_ns, end_ns : ndarray, shape (stretches,)
        When each stretch began and ended, in Unix time.
    mean_bytes : ndarray, shape (stretches,)
        How much memory there was in each stretch.
    begin_ns, last_ns : int
        When the recording began and ended.

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon.analysis import Times
    >>> stretch = np.array([100]), np.array([200]), np.array([4096.0])
    >>> times = Times(*stretch, begin_ns=0, last_ns=1000)
    >>> times.total_ns, times.inside(np.array([50, 150])).tolist()
    (100, [False, True])
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    mean_bytes: NDArray[np.float64]
    begin_ns: int
    last_ns: int

    @property
    def total_ns(self) -> int:
        """The length of all stretches together."""
        return int((self.end_ns - self.start_ns).sum())

    def inside(self, time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which times are in one of the stretches.

        Parameters
        ----------
        time_ns
            Times, in Unix time.

        Returns
        -------
        ndarray of bool, shape (times,)
            Whether each of them is.
        """
        return contains(np.column_stack([self.start_ns, self.end_ns]), time_ns)


def times(recording: AnyRecording, least_bytes: int = 1) -> Times:
    """Find out when a recording, usually one that `where` has filtered, had regions.

    Snapshots that follow one another are one stretch, with the surveys between them.

    Parameters
    ----------
    recording
        The recording.
    least_bytes
        How many bytes of regions a snapshot must have.

    Returns
    -------
    Times
        The stretches of time.

    Raises
    ------
    RecordingError
        If there are no snapshots.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> hot = pydamon.analysis.where(recording, "rate > 50%")
    >>> times = pydamon.analysis.times(hot, least_bytes=1 << 20)
    >>> times.total_ns == times.last_ns - times.begin_ns
    True
    """
    series_fold = TimeSeriesFold(total_bytes)
    outline = fold_with_outline(recording, series_fold)
    series = next(series_fold.series())
    size_bytes = series.amounts[0]
    is_held = size_bytes >= max(1, least_bytes)
    window_ns = np.maximum(series.end_ns - series.start_ns, 1)
    first, last = _stretches(series, is_held, window_ns)
    held_ns = running_total(np.where(is_held, window_ns, 0))
    held_byte_ns = running_total(np.where(is_held, size_bytes * window_ns.astype(np.float64), 0))
    length_ns = np.maximum(held_ns[last + 1] - held_ns[first], 1)
    mean_bytes = (held_byte_ns[last + 1] - held_byte_ns[first]) / length_ns
    return Times(
        series.start_ns[first], series.end_ns[last], mean_bytes, outline.begin_ns, outline.end_ns
    )


def _stretches(
    series: TimeSeries, is_held: NDArray[np.bool_], window_ns: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last snapshot of each stretch."""
    # Between two snapshots there may be a survey, but no longer pause.
    pause_ns = series.start_ns[1:] - series.end_ns[:-1]
    goes_on = is_held[1:] & is_held[:-1] & (pause_ns <= SURVEY_WINDOWS * window_ns[1:])
    first = np.flatnonzero(is_held & ~np.append(False, goes_on))
    last = np.flatnonzero(is_held & ~np.append(goes_on, False))
    return first, last


@dataclass(frozen=True, slots=True)
class FunctionShare:
    """How often a function was sampled: see `profile`.

    Attributes
    ----------
    function, file : str
        The function, and the program or library that it is in.
    inside, outside : float
        Its share of the samples inside and outside the times, from 0 to 1.

    Examples
    --------
    >>> from pydamon.analysis import FunctionShare
    >>> FunctionShare("memcpy", "/usr/lib/libc.so.6", inside=0.75, outside=0.25).inside
    0.75
    """

    function: str
    file: str
    inside: float
    outside: float


@dataclass(frozen=True)
class Profile(Displayable):
    """The functions that ran in some times of a recording: see `profile`.

    Attributes
    ----------
    functions : tuple of FunctionShare
        The functions, from the largest share inside the times to the smallest.
    samples_inside, samples_outside : int
        How many samples were taken inside and outside the times.

    Examples
    --------
    >>> from pydamon.analysis import FunctionShare, Profile
    >>> functions = (FunctionShare("memcpy", "/usr/lib/libc.so.6", 0.75, 0.25),)
    >>> Profile(functions, samples_inside=4, samples_outside=8).functions[0].function
    'memcpy'
    """

    functions: tuple[FunctionShare, ...]
    samples_inside: int
    samples_outside: int


def profile(times: Times, samples: Iterable[CpuSample]) -> Profile:
    """Compare functions that ran in some times of a recording with those that ran otherwise.

    Parameters
    ----------
    times
        Some times of a recording: see `times`.
    samples
        CPU samples: see `recorded_samples` and `read_cpu_samples`.

    Returns
    -------
    Profile
        The functions.

    Raises
    ------
    RecordingError
        If no sample was taken while the recording was made.

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon.analysis import CpuSample, Times, profile
    >>> stretch = np.array([100]), np.array([200]), np.array([4096.0])
    >>> times = Times(*stretch, begin_ns=0, last_ns=1000)
    >>> samples = [CpuSample(time_ns, "main", "/usr/bin/app") for time_ns in (50, 150, 170)]
    >>> profile(times, samples).samples_inside
    2
    """
    inside: Counter[tuple[str, str]] = Counter()
    outside: Counter[tuple[str, str]] = Counter()
    for sample, is_inside in _samples_within(times, samples):
        (inside if is_inside else outside)[sample.function, sample.file] += sample.count
    if not inside and not outside:
        raise RecordingError(
            "no function was sampled while the recording was made",
            hint="record with --profile, or sample in Unix time: "
            "perf record -e cpu-clock -k realtime -p PID -o cpu.data",
        )
    return _compared(inside, outside)


def _compared(inside: Counter[tuple[str, str]], outside: Counter[tuple[str, str]]) -> Profile:
    inside_count, outside_count = inside.total(), outside.total()
    shares = [
        FunctionShare(
            *key, inside[key] / max(inside_count, 1), outside[key] / max(outside_count, 1)
        )
        for key in inside.keys() | outside.keys()
    ]
    shares.sort(key=lambda share: (-share.inside, -share.outside, share.function, share.file))
    return Profile(tuple(shares), inside_count, outside_count)


def functions(recording: AnyRecording) -> Profile:
    """The functions that ran while a recording was made, those that ran most first.

    Parameters
    ----------
    recording
        A recording, as for `recorded_samples`.

    Returns
    -------
    Profile
        The functions, all of them inside; none if they were not recorded.

    Raises
    ------
    RecordingError
        If what the recording says of functions makes no sense.
    """
    ran: Counter[tuple[str, str]] = Counter()
    for sample in recorded_samples(recording):
        ran[sample.function, sample.file] += sample.count
    return _compared(ran, Counter())


def recorded_samples(recording: AnyRecording) -> Iterator[CpuSample]:
    """Yield the functions that ran while a recording was made, if they were recorded.

    Parameters
    ----------
    recording
        A recording of `pydamon record --profile`, unfiltered: the functions of a window stand in
        the row of its first region.

    Yields
    ------
    CpuSample
        The functions of each window of each process; their time is the middle of the window.

    Raises
    ------
    RecordingError
        If what the recording says of functions makes no sense.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import pydamon
    >>> from pydamon import Access, CpuUse, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> *_, snapshot = pydamon.simulate(trace, [(0, 256 << 20)]).run("1s")
    >>> snapshot = replace(snapshot, cpu_use=(CpuUse((("main", "/usr/bin/app", 9),)),))
    >>> recording = pydamon.Recording.from_snapshots([snapshot])
    >>> [(s.function, s.count) for s in pydamon.analysis.recorded_samples(recording)]
    [('main', 9)]
    """
    for chunk in chunks_of(recording):
        words, codes = chunk.names("cpu_use"), chunk.codes("cpu_use")
        said = np.array([bool(word) for word in words], np.bool_)
        if not said.any():
            continue
        rows = np.flatnonzero(said[codes])
        middle_ns = (chunk.column("start_ns")[rows] + chunk.column("end_ns")[rows]) // 2
        for code, time_ns in zip(codes[rows].tolist(), middle_ns.tolist(), strict=True):
            use = use_of_words([words[code]])
            for function, file, count in use.functions if use else ():
                yield CpuSample(time_ns, function, file, count)


def _samples_within(times: Times, samples: Iterable[CpuSample]) -> Iterator[tuple[CpuSample, bool]]:
    """The samples taken while the recording was made, and whether each is inside the times."""
    taken = iter(samples)
    while piece := list(islice(taken, _SAMPLES_AT_ONCE)):
        time_ns = np.array([sample.time_ns for sample in piece], np.int64)
        is_recorded = (time_ns >= times.begin_ns) & (time_ns < times.last_ns)
        is_inside = times.inside(time_ns)
        for index in np.flatnonzero(is_recorded).tolist():
            yield piece[index], bool(is_inside[index])

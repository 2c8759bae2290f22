"""The workloads that come with pydamon."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydamon._model.errors import UsageError
from pydamon._workloads.masim import Config, Mode, Pattern, Phase, Region
from pydamon._workloads.workload import Workload

__all__ = ["PATTERNS", "pattern"]

_KIB, _MIB = 1 << 10, 1 << 20
_FOREVER_MS = 24 * 3600 * 1000
_PHASE_MS = 8000
"""Longer than the 5 s that a monitor may take to settle."""


def _walk(region: str, weight: int = 1, stride: int = 4 * _KIB, mode: Mode = "rw") -> Pattern:
    return Pattern(region, random=False, stride=stride, weight=weight, mode=mode)


def _random(region: str, weight: int = 1, mode: Mode = "rw") -> Pattern:
    return Pattern(region, random=True, stride=0, weight=weight, mode=mode)


def _regions(sizes: Iterable[tuple[str, int]]) -> tuple[Region, ...]:
    return tuple(Region(name, size) for name, size in sizes)


def _steady(sizes: Iterable[tuple[str, int]], *patterns: Pattern) -> Config:
    return Config(_regions(sizes), (Phase("steady", _FOREVER_MS, patterns),))


def _one_by_one(count: int, size_bytes: int, order: Iterable[int]) -> Config:
    """Access the regions one after the other, in this order."""
    return Config(
        _regions((f"r{number}", size_bytes) for number in range(count)),
        tuple(Phase(f"only r{at}", _PHASE_MS, (_walk(f"r{at}"),)) for at in order),
    )


def _stairs() -> Workload:
    config = _one_by_one(10, 10 * _MIB, range(10))
    return Workload("stairs", "10 regions of 10 MiB, accessed one after the other", config)


def _zigzag() -> Workload:
    order = [*range(10), *range(8, 0, -1)]
    config = _one_by_one(10, 10 * _MIB, order)
    return Workload("zigzag", "10 regions of 10 MiB, accessed upwards and downwards", config)


def _moving() -> Workload:
    config = _one_by_one(64, 4 * _MIB, [(at * 23) % 64 for at in range(64)])
    return Workload("moving", "a hot spot of 4 MiB that jumps around in 256 MiB", config)


def _hotspot() -> Workload:
    sizes = [("before", 613 * _MIB), ("hot", _MIB), ("after", 386 * _MIB)]
    return Workload("hotspot", "1 MiB hot in 1,000 MiB", _steady(sizes, _walk("hot")))


def _hotspots() -> Workload:
    sizes = [
        size
        for n in range(8)
        for size in ((f"cold{n}", (40 + 7 * n) * _MIB), (f"hot{n}", (1 + n % 3) * _MIB))
    ]
    config = _steady(sizes, *(_walk(f"hot{n}", 1 + n % 3) for n in range(8)))
    return Workload("hotspots", "8 hot spots of 1 to 3 MiB in 530 MiB", config)


def _gradient() -> Workload:
    sizes = [*((f"step{n}", 4 * _MIB) for n in range(8)), ("cold", 96 * _MIB)]
    config = _steady(sizes, *(_random(f"step{n}", 1 << n) for n in range(8)))
    about = "8 regions of 4 MiB at random, each accessed twice as often as the previous one"
    return Workload("gradient", about, config, round_accesses=2048)


def _sparse() -> Workload:
    sizes = [("idle", 64 * _MIB), ("sparse", 128 * _MIB), ("cold", 64 * _MIB)]
    config = _steady(sizes, _walk("sparse", stride=64 * _KIB))
    return Workload("sparse", "1 page in 16 of 128 MiB hot, 128 MiB cold", config)


def _uniform() -> Workload:
    sizes = [("hot", 64 * _MIB), ("cold", 64 * _MIB)]
    return Workload(
        "uniform", "64 MiB accessed at random, 64 MiB cold", _steady(sizes, _random("hot"))
    )


def _phases() -> Workload:
    sizes = [("a", 16 * _MIB), ("b", 48 * _MIB), ("c", 32 * _MIB), ("cold", 96 * _MIB)]
    phases = (
        Phase("a and b", _PHASE_MS, (_walk("a", 1, mode="ro"), _walk("b", 3, mode="wo"))),
        Phase("c", _PHASE_MS, (_random("c", mode="ro"),)),
        Phase("a and c", _PHASE_MS, (_walk("a", 1), _walk("c", 2, 64, "ro"))),
    )
    about = "3 phases of reads and writes, in order and at random"
    return Workload("phases", about, Config(_regions(sizes), phases))


def _huge() -> Workload:
    sizes = [("hot", 64 * _MIB), ("cold", 192 * _MIB)]
    config = _steady(sizes, _walk("hot"))
    both = frozenset({"hot", "cold"})
    return Workload("huge", "64 MiB hot of 256 MiB in huge pages", config, huge=both)


def _shared() -> Workload:
    sizes = [("hot", 32 * _MIB), ("cold", 96 * _MIB)]
    both = frozenset({"hot", "cold"})
    return Workload(
        "shared",
        "32 MiB hot of 128 MiB that 2 processes share",
        _steady(sizes, _walk("hot")),
        shared=both,
        processes=2,
    )


def _files() -> Workload:
    sizes = [("hot", 32 * _MIB), ("cold", 96 * _MIB)]
    both = frozenset({"hot", "cold"})
    config = _steady(sizes, _walk("hot"))
    return Workload("files", "32 MiB hot of 128 MiB in mapped files", config, files=both)


def _churn() -> Workload:
    sizes = [("cold", 96 * _MIB), ("hot", 32 * _MIB)]
    config = _steady(sizes, _walk("hot"))
    return Workload(
        "churn", "32 MiB hot of 128 MiB, beside mappings that come and go", config, churn_ms=50
    )


def _threads() -> Workload:
    sizes = [("hot", 32 * _MIB), ("cold", 96 * _MIB)]
    config = _steady(sizes, _walk("hot"))
    return Workload("threads", "32 MiB hot of 128 MiB, accessed by 16 threads", config, threads=16)


def _tlb() -> Workload:
    sizes = [("cold", 63 * _MIB), ("hot", 256 * _KIB), ("after", 768 * _KIB)]
    config = _steady(sizes, _walk("hot"))
    return Workload("tlb", "256 KiB hot of 64 MiB: small enough for the TLB", config)


_MAKERS: tuple[Callable[[], Workload], ...] = (
    _stairs,
    _zigzag,
    _moving,
    _hotspot,
    _hotspots,
    _gradient,
    _sparse,
    _uniform,
    _phases,
    _huge,
    _shared,
    _files,
    _churn,
    _threads,
    _tlb,
)

PATTERNS: dict[str, Workload] = {workload.name: workload for workload in (m() for m in _MAKERS)}
"""The shipped workloads, by name."""


def pattern(name: str) -> Workload:
    """Return a shipped workload by its name.

    Raises
    ------
    UsageError
        If there is no workload of that name.

    Examples
    --------
    >>> from pydamon.workloads import pattern
    >>> pattern("hotspot").about
    '1 MiB hot in 1,000 MiB'
    """
    if name not in PATTERNS:
        names = ", ".join(PATTERNS)
        raise UsageError(f"there is no workload {name!r}", hint=f"choose from {names}")
    return PATTERNS[name]

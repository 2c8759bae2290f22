"""Descriptions of memory use, in the format of masim's configuration files.

Blank lines separate paragraphs, and lines that start with `#` are comments. The first paragraph
lists regions, as `name, bytes[, file | none]`. Each further paragraph is a phase: its name, its
length in milliseconds, and a line for each pattern: `region, random (1 or 0), stride in bytes,
relative probability[, ro | wo | rw]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn, cast, get_args

from pydamon._model.errors import UsageError
from pydamon._model.regions import PAGE_SIZE

__all__ = ["Config", "Mode", "Pattern", "Phase", "Region", "parse", "render"]

Mode = Literal["ro", "wo", "rw"]
"""Accesses of a pattern: reads (`ro`), writes (`wo`) or both (`rw`)."""

_Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Region:
    """A region of memory.

    Attributes
    ----------
    name
        The name by which patterns refer to the region.
    size_bytes
        Its size.
    initial
        The path of a file whose content the region has at the start.
    """

    name: str
    size_bytes: int
    initial: str | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """The accesses to a region in a phase.

    Attributes
    ----------
    region
        The name of the region.
    random
        Whether the accesses go to random pages, or to every *stride* bytes in order.
    stride
        The distance of sequential accesses, in bytes.
    weight
        The share of this pattern in all accesses of the phase, relative to the other patterns.
    mode
        Reads (`ro`), writes (`wo`) or both (`rw`).
    rate_hz
        How often each place is accessed in a second, on average; `None` makes as many accesses as
        *weight* says. Random accesses with a rate go to a random place: one page every *stride*
        bytes. masim's format has no rates.
    places
        So many pages, scattered over the region, in place of one every *stride* bytes: those of
        fewer places are among those of more, so that the same pages stay in use from phase to
        phase. `None` goes by *stride*. masim's format has only strides.
    """

    region: str
    random: bool
    stride: int
    weight: int
    mode: Mode = "wo"
    rate_hz: float | None = None
    places: int | None = None

    @property
    def step_bytes(self) -> int:
        """The distance of the places that are accessed: at least a page if they are random."""
        if not self.random:
            return self.stride
        return PAGE_SIZE if self.rate_hz is None else max(PAGE_SIZE, self.stride)


@dataclass(frozen=True, slots=True)
class Phase:
    """Patterns that run together for `duration_ms` milliseconds."""

    name: str
    duration_ms: int
    patterns: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """The regions of a workload, and its phases in their order."""

    regions: tuple[Region, ...]
    phases: tuple[Phase, ...]


def parse(text: str, source: str = "configuration") -> Config:
    """Parse a configuration of masim.

    Parameters
    ----------
    text
        The content of the file.
    source
        The name of the file in errors.

    Raises
    ------
    UsageError
        If the text does not follow the format. The error names *source* and the line.

    Examples
    --------
    >>> from pydamon.workloads import parse
    >>> config = parse("heap, 1048576\\n\\nwarm up\\n500\\nheap, 1, 0, 1, rw")
    >>> config.regions[0].size_bytes
    1048576
    >>> config.phases[0].name
    'warm up'
    """
    return _Parser(source).config(text)


def render(config: Config) -> str:
    """Write a configuration in masim's format. `parse` reads the same configuration back.

    Rates are left out, because masim has none: it makes as many accesses as it can, in the
    proportion of the weights. Random accesses to one page in several become sequential ones.

    Examples
    --------
    >>> from pydamon.workloads import parse, render
    >>> config = parse("heap, 4096\\n\\nidle\\n100")
    >>> print(render(config), end="")
    # regions
    heap, 4096
    <BLANKLINE>
    idle
    100
    """
    regions = [
        ", ".join([r.name, str(r.size_bytes), *([r.initial] if r.initial else [])])
        for r in config.regions
    ]
    paragraphs = ["\n".join(["# regions", *regions])]
    for phase in config.phases:
        patterns = [
            f"{p.region}, {int(_is_random(p))}, {p.stride}, {p.weight}, {p.mode}"
            for p in phase.patterns
        ]
        paragraphs.append("\n".join([phase.name, str(phase.duration_ms), *patterns]))
    return "\n\n".join(paragraphs) + "\n"


def _is_random(pattern: Pattern) -> bool:
    """Whether masim can access the same places at random: it can if they are all pages."""
    return pattern.random and (pattern.rate_hz is None or pattern.step_bytes == PAGE_SIZE)


class _Parser:
    """Parses a configuration; *source* names it in errors."""

    def __init__(self, source: str) -> None:
        self._source = source

    def config(self, text: str) -> Config:
        first, *rest = list(_paragraphs(text)) or [[]]
        if not first:
            raise UsageError(f"{self._source} is empty: it names no memory region")
        regions: dict[str, Region] = {}
        for line in first:
            region = self._region(line)
            if region.name in regions:
                self._fail(line, f"there are two regions named {region.name!r}")
            regions[region.name] = region
        if not rest:
            self._fail(first[-1], "no phase follows the regions")
        return Config(tuple(regions.values()), tuple(self._phase(p, regions) for p in rest))

    def _region(self, line: _Line) -> Region:
        fields = self._fields(line, 2, 3, "name, bytes[, file | none]")
        name, size = fields[:2]
        initial = fields[2] if len(fields) > 2 and fields[2] not in ("none", "") else None
        return Region(name, self._number(line, size, "a size in bytes", 1), initial)

    def _phase(self, paragraph: list[_Line], regions: dict[str, Region]) -> Phase:
        name, *rest = paragraph
        if not rest:
            self._fail(name, f"the length of phase {name[1]!r} is missing")
        duration = self._number(rest[0], rest[0][1], "a length in milliseconds", 1)
        patterns = tuple(self._pattern(line, regions) for line in rest[1:])
        if patterns and not sum(p.weight for p in patterns):
            self._fail(name, f"no pattern of phase {name[1]!r} has a probability above 0")
        return Phase(name[1], duration, patterns)

    def _pattern(self, line: _Line, regions: dict[str, Region]) -> Pattern:
        form = "region, random (1 or 0), stride, probability[, ro | wo | rw]"
        region, random, stride, weight, *modes = self._fields(line, 4, 5, form)
        if region not in regions:
            self._fail(line, f"there is no region {region!r}")
        if random not in ("0", "1"):
            self._fail(line, f"random is 1 or 0, not {random!r}")
        mode = modes[0] if modes else "wo"
        if mode not in get_args(Mode):
            self._fail(line, f"accesses are ro, wo or rw, not {mode!r}")
        return Pattern(
            region,
            random == "1",
            self._number(line, stride, "a stride in bytes", 0 if random == "1" else 1),
            self._number(line, weight, "a probability", 0),
            cast(Mode, mode),
        )

    def _fields(self, line: _Line, least: int, most: int, form: str) -> list[str]:
        fields = [field.strip() for field in line[1].split(",")]
        if not least <= len(fields) <= most or not fields[0]:
            self._fail(line, f"expected `{form}`, not {line[1]!r}")
        return fields

    def _number(self, line: _Line, text: str, quantity: str, least: int) -> int:
        # int() would also accept "1_0" and signs.
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:20]) < 2**63:
            self._fail(line, f"not {quantity}: {text!r}")
        return int(text)

    def _fail(self, line: _Line, reason: str) -> NoReturn:
        raise UsageError(f"{self._source}, line {line[0]}: {reason}")


def _paragraphs(text: str) -> Iterator[list[_Line]]:
    """Yield the numbered lines of each paragraph, without comments."""
    lines: list[_Line] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            lines.append((number, stripped))
        elif not stripped and lines:
            yield lines
            lines = []
    if lines:
        yield lines

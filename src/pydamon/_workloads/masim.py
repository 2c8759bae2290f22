"""Descriptions of memory use, in the format of masim's configuration files.

Paragraphs are separated by blank lines; lines that start with `#` are comments. The first
paragraph lists regions, `name, bytes[, file | none]`. Each further one is a phase: its name, its
length in milliseconds, then a line for each pattern: `region, random (1 or 0), stride in bytes,
relative probability[, ro | wo | rw]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn, cast, get_args

from pydamon._model.errors import UsageError

__all__ = ["Config", "Mode", "Pattern", "Phase", "Region", "parse", "render"]

Mode = Literal["ro", "wo", "rw"]
"""Whether a pattern reads, writes, or does both."""

_Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Region:
    """So many bytes of memory; at the start they hold what is in the file *initial*, if any."""

    name: str
    size_bytes: int
    initial: str | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """How a region is accessed: in random places, or every *stride* bytes from its start on.

    Of all accesses of a phase, each pattern makes a share in proportion to its *weight*.
    """

    region: str
    random: bool
    stride: int
    weight: int
    mode: Mode = "wo"


@dataclass(frozen=True, slots=True)
class Phase:
    """Patterns that are in use together for a while."""

    name: str
    duration_ms: int
    patterns: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Regions, and the phases in which they are used, one after the other."""

    regions: tuple[Region, ...]
    phases: tuple[Phase, ...]


def parse(text: str, source: str = "configuration") -> Config:
    """The configuration that *text* describes.

    Raises `UsageError`, which names *source* and the line, for what does not follow the format.
    """
    return _Parser(source).config(text)


def render(config: Config) -> str:
    """The text of a configuration; `parse` gives the same configuration back."""
    regions = [
        ", ".join([r.name, str(r.size_bytes), *([r.initial] if r.initial else [])])
        for r in config.regions
    ]
    paragraphs = ["\n".join(["# regions", *regions])]
    for phase in config.phases:
        patterns = [
            f"{p.region}, {int(p.random)}, {p.stride}, {p.weight}, {p.mode}" for p in phase.patterns
        ]
        paragraphs.append("\n".join([phase.name, str(phase.duration_ms), *patterns]))
    return "\n\n".join(paragraphs) + "\n"


class _Parser:
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
                self._complain(line, f"there are two regions named {region.name!r}")
            regions[region.name] = region
        if not rest:
            self._complain(first[-1], "no phase follows the regions")
        return Config(tuple(regions.values()), tuple(self._phase(p, regions) for p in rest))

    def _region(self, line: _Line) -> Region:
        fields = self._fields(line, 2, 3, "name, bytes[, file | none]")
        name, size = fields[:2]
        initial = fields[2] if len(fields) > 2 and fields[2] not in ("none", "") else None
        return Region(name, self._number(line, size, "a size in bytes", 1), initial)

    def _phase(self, paragraph: list[_Line], regions: dict[str, Region]) -> Phase:
        name, *rest = paragraph
        if not rest:
            self._complain(name, f"the length of phase {name[1]!r} is missing")
        duration = self._number(rest[0], rest[0][1], "a length in milliseconds", 1)
        patterns = tuple(self._pattern(line, regions) for line in rest[1:])
        if patterns and not sum(p.weight for p in patterns):
            self._complain(name, f"no pattern of phase {name[1]!r} has a probability above 0")
        return Phase(name[1], duration, patterns)

    def _pattern(self, line: _Line, regions: dict[str, Region]) -> Pattern:
        what = "region, random (1 or 0), stride, probability[, ro | wo | rw]"
        region, random, stride, weight, *mode = self._fields(line, 4, 5, what)
        if region not in regions:
            self._complain(line, f"there is no region {region!r}")
        if random not in ("0", "1"):
            self._complain(line, f"random is 1 or 0, not {random!r}")
        used = mode[0] if mode else "wo"
        if used not in get_args(Mode):
            self._complain(line, f"accesses are ro, wo or rw, not {used!r}")
        return Pattern(
            region,
            random == "1",
            self._number(line, stride, "a stride in bytes", 0 if random == "1" else 1),
            self._number(line, weight, "a probability", 0),
            cast(Mode, used),
        )

    def _fields(self, line: _Line, least: int, most: int, what: str) -> list[str]:
        fields = [field.strip() for field in line[1].split(",")]
        if not least <= len(fields) <= most or not fields[0]:
            self._complain(line, f"expected `{what}`, not {line[1]!r}")
        return fields

    def _number(self, line: _Line, text: str, what: str, least: int) -> int:
        # Digits alone: int() would also take "1_0", and signs.
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:20]) < 2**63:
            self._complain(line, f"not {what}: {text!r}")
        return int(text)

    def _complain(self, line: _Line, why: str) -> NoReturn:
        raise UsageError(f"{self._source}, line {line[0]}: {why}")


def _paragraphs(text: str) -> Iterator[list[_Line]]:
    """Runs of lines without a blank one, with their numbers; comments are left out."""
    found: list[_Line] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            found.append((number, stripped))
        elif not stripped and found:
            yield found
            found = []
    if found:
        yield found

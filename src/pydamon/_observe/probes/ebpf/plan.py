"""What the daemon needs of this module's objects: programs and layouts, as plain data.

The daemon reads neither ELF nor BTF, so that its privileged part stays small.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from typing import Any

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux.arch import LEVEL_BITS, PAGE_SHIFT
from pydamon._observe.probes.ebpf.btf import BLOCK, TARGET, Btf, Control, Pace
from pydamon._observe.probes.ebpf.linker import Linker, object_bytes, read_maps, read_object
from pydamon._observe.probes.ebpf.loader import PROGRAM_TYPES, ProgramType
from pydamon._observe.probes.ebpf.machine import LOOPING_OBJECT, Machine
from pydamon._observe.probes.ebpf.survival import SurvivalSampler

__all__ = ["fingerprint", "make_plan"]

_TYPES = PROGRAM_TYPES | {
    "iter/task_file": ProgramType(26, 28, "bpf_iter_task_file"),
}
_SESSION = (
    *("scan", "choose", "arm", "settle", "look_now", "on_tick"),
    *("find_task", "find_file"),
)
"""The programs that a session of the daemon runs: none that reads whatever address it is given."""
_LAYOUTS = {"target": TARGET, "block": BLOCK}
_FACTS = (
    *("direct_map", "phys_mask", "high_mask", "absent_mask", "top_shift"),
    *("task_mm", "task_tgid", "mm_pgd"),
    *("vmemmap", "page_bytes", "page_flags", "page_head", "page_mapcount", "young"),
)
"""What `Machine` finds out about this kernel, and the programs must know."""


@cache
def fingerprint() -> int:
    """Identifies the object, and so the layouts that client and daemon must share."""
    digest = hashlib.sha256(object_bytes(LOOPING_OBJECT)).digest()
    return int.from_bytes(digest[:8], "little")


def make_plan() -> dict[str, Any]:
    """The programs, maps, layouts and facts of this kernel, fit for JSON.

    Raises `ProbeUnavailable` if the object or the kernel's BTF cannot be read.
    """
    facts, user_entries, constants = _found_out()
    btf = Btf()
    elf, symbols = read_object(LOOPING_OBJECT)
    maps = read_maps(elf, symbols)
    # The code names a map by its place among them.
    places = {name: place for place, name in enumerate(maps)}
    control = ((name, getattr(Control, name)) for name, *_ in Control._fields_)
    pace = ((name, getattr(Pace, name)) for name, *_ in Pace._fields_)
    return {
        "fingerprint": fingerprint(),
        "maps": maps,
        "session": _SESSION,
        "programs": _programs(Linker(elf, symbols, places, constants), btf),
        "control": {name: (field.offset, field.size) for name, field in control},
        "pace": {name: (field.offset, field.size) for name, field in pace},
        **{name: _offsets(layout) for name, layout in _LAYOUTS.items()},
        "facts": facts,
        "user_entries": user_entries,
        "file_private": btf.offset_of("file", "private_data"),
        "page_shift": PAGE_SHIFT,
        "level_bits": LEVEL_BITS,
    }


def _found_out() -> tuple[dict[str, int], int, dict[str, int]]:
    """Facts of this kernel, entries of the highest page tables that map user space, constants."""
    machine = Machine(1, 1)
    try:
        if not SurvivalSampler.possible(machine):
            raise ProbeUnavailable("the daemon needs Linux 6.1 or later")
        with suppress(ProbeUnavailable):  # then `young` is 0, and nothing is read back
            machine.read_back(True)
        facts = {name: getattr(machine.control, name) for name in _FACTS}
        user_entries = machine.user_entries
        return facts, user_entries, {**machine.constants, "user_entries": user_entries}
    finally:
        machine.close()


def _programs(linker: Linker, btf: Btf) -> dict[str, dict[str, Any]]:
    programs = {}
    for name, section, code, starts in linker.programs(_TYPES):
        kind = _TYPES[section]
        programs[name] = {
            "type": kind.number,
            "attach_type": kind.attach_type,
            "attach_to": btf.type_id(kind.attach_to) if kind.attach_to else 0,
            "flags": kind.flags,
            "code": code.hex(),
            "starts": starts,
        }
    return programs


def _offsets(layout: Any) -> dict[str, int]:
    return {name: layout.fields[name][1] for name in layout.names}

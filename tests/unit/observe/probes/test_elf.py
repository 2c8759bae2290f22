"""BPF objects: the one that is shipped, made-up ones, and damaged ones."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._observe.probes.ebpf.elf import ElfError, ElfFile
from pydamon._observe.probes.ebpf.linker import Linker, read_maps, read_object
from pydamon._observe.probes.ebpf.machine import LOOPING_OBJECT

NAMES = b"\0.strtab\0code\0.relcode\0.symtab\0run\0table\0"


def made_up() -> bytes:
    """An object with a function of two instructions, the second of which refers to a map."""
    symbols = struct.pack("<IBBHQQ", NAMES.index(b"run"), 0x12, 0, 2, 0, 16)
    symbols += struct.pack("<IBBHQQ", NAMES.index(b"table"), 0x11, 0, 0, 20, 4)
    relocations = struct.pack("<QQ", 8, 1 << 32 | 1)
    contents = [b"", NAMES, bytes(range(16)), relocations, symbols, b""]
    named = [b"", b".strtab", b"code", b".relcode", b".symtab", b""]
    kinds = [0, 3, 1, 9, 2, 8]
    data, headers = bytearray(64), b""
    for name, kind, content in zip(named, kinds, contents, strict=True):
        offset = NAMES.index(b"\0" + name + b"\0") + 1 if name else 0
        size = 1 << 40 if kind == 8 else len(content)
        headers += struct.pack("<IIQQQQIIQQ", offset, kind, 0, 0, len(data), size, 1, 0, 1, 0)
        data += content
    identity = b"\x7fELF\x02\x01".ljust(16, b"\0")
    struct.pack_into(
        "<16sHHIQQQIHHHHHH", data, 0, identity, 1, 247, 1, 0, 0, len(data), 0, 64, 0, 0, 64, 6, 1
    )
    return bytes(data) + headers


def test_sections_symbols_and_relocations() -> None:
    elf = ElfFile(made_up())
    names = [section.name for section in elf.iter_sections()]
    assert names == ["", ".strtab", "code", ".relcode", ".symtab", ""]
    code, table = elf.get_section_by_name("code"), elf.get_section_by_name(".symtab")
    relocations = elf.get_section_by_name(".relcode")
    assert code is not None
    assert table is not None
    assert relocations is not None
    assert code.data() == bytes(range(16))
    run, map_ = table.iter_symbols()
    assert (run.name, run["st_shndx"], run["st_value"], run["st_size"]) == ("run", 2, 0, 16)
    assert [symbol["st_info"]["type"] for symbol in (run, map_)] == ["STT_FUNC", "STT_OBJECT"]
    assert list(relocations.iter_relocations()) == [{"r_offset": 8, "r_info_sym": 1}]
    assert elf.get_section_index(".symtab") == 4
    assert elf.get_section_by_name("data") is None


@given(st.data())
def test_a_damaged_object_is_an_error_or_is_read(data: st.DataObject) -> None:
    whole = bytearray(made_up())
    end = data.draw(st.integers(0, len(whole)))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5)):
        whole[at] ^= data.draw(st.integers(0, 255))
    try:
        elf = ElfFile(bytes(whole[:end]))
        for section in elf.iter_sections():
            section.data()
    except ElfError:
        pass


@pytest.mark.skipif(
    not LOOPING_OBJECT.exists(), reason="the BPF object is built when it is installed"
)
def test_the_object_that_is_shipped_has_maps_and_programs() -> None:
    elf, symbols = read_object(LOOPING_OBJECT)
    maps = elf.get_section_index("maps")
    assert len([symbol for symbol in symbols if symbol["st_shndx"] == maps]) > 3
    programs = {symbol.name for symbol in symbols if symbol["st_info"]["type"] == "STT_FUNC"}
    assert {"scan", "find_task"} <= programs


def test_a_symbol_that_nobody_defines_becomes_a_constant() -> None:
    elf, symbols = read_object(LOOPING_OBJECT)
    maps = dict.fromkeys(read_maps(elf, symbols), 7)
    roots, users = (
        next(
            program.code
            for program in Linker(elf, symbols, maps, constants).programs({"syscall"})
            if program.name == "scan"
        )
        for constants in ({}, {"user_entries": 1})
    )
    places = [at for at in range(len(users)) if roots[at] != users[at]]
    assert places
    for at in places:
        # A load of 64 bits, of which this is the lowest byte; not one of a map's address.
        assert (users[at - 4], users[at - 3] >> 4) == (0x18, 0)
        assert (roots[at], users[at]) == (0, 1)

"""The first file system of the virtual machine: busybox, modules, and a script that mounts more.

The archive format is "newc": Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import lzma
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from tests.vm.packages import Kernel, UnavailableError

__all__ = ["archive", "modules"]


def modules(kernel: Kernel, wanted: Sequence[str]) -> list[bytes]:
    """Modules of an unpacked kernel with those that they need, in the order to load them in.

    Names that are built into the kernel, or that it does not have as a module, are left out.
    """
    paths = {_name(path): path for path in kernel.modules.glob("kernel/**/*.ko*")}
    loaded: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in loaded or name not in paths:
            return
        code = paths[name].read_bytes()
        if paths[name].suffix == ".xz":
            code = lzma.decompress(code)
        needs = re.search(rb"\0depends=([^\0]*)\0", code)
        for other in needs[1].decode().split(",") if needs else ():
            add(other.replace("-", "_"))
        loaded[name] = code

    built_in = {
        _name(Path(line)) for line in (kernel.modules / "modules.builtin").read_text().split()
    }
    for name in wanted:
        add(name)
        if name not in loaded and name not in built_in:
            raise UnavailableError(f"{kernel.release} has no module {name}")
    return list(loaded.values())


def archive(files: dict[str, bytes]) -> bytes:
    """An archive of executable files by path, with the directories that they are in."""
    paths = {str(parent) for name in files for parent in Path(name).parents if parent.name}
    content: list[tuple[str, int, bytes]] = [
        *((path, stat.S_IFDIR, b"") for path in sorted(paths)),
        *((path, stat.S_IFREG, data) for path, data in files.items()),
        ("TRAILER!!!", stat.S_IFREG, b""),
    ]
    return b"".join(_member(number, *member) for number, member in enumerate(content, 1))


def _member(inode: int, path: str, kind: int, data: bytes) -> bytes:
    name = path.encode() + b"\0"
    numbers = (inode, kind | 0o755, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + name) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")

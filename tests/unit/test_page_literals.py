"""The page size of this machine is asked for, not written down.

Constants, and words of programs in strings, that can only be the size of a page or of a huge page
of x86-64: `4096`, `<< 12`, `2 << 20`. Docstrings may have them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {4096, 2 << 20}
IN_TEXT = re.compile(r"(?<![0-9._-])4096(?![0-9._-])|\b2 << 20\b|(<<|>>) 12\b")
ALLOWED = {
    "src/pydamon/_model/page_size.py": "names the smallest page of any processor",
    "src/pydamon/_daemon/bpf.py": "bytes to read at a time",
    "src/pydamon/_daemon/limits.py": "so many targets",
    "src/pydamon/_data/analysis/heat.py": "so many cells",
    "src/pydamon/_show/frames/heatmap_cache.py": "so many cells",
    "src/pydamon/_observe/cache/tracer.py": "bytes of a file",
    "src/pydamon/_observe/linux/frames.py": "a bit of /proc/kpageflags",
    "src/pydamon/_observe/linux/procfs.py": "a flag of a task",
    "src/pydamon/_observe/probes/idle.py": "so many words of a bitmap",
    "src/pydamon/_observe/probes/ebpf/loader.py": "bytes to read at a time",
    "src/pydamon/_observe/probes/ebpf/session.py": "so many regions",
    "src/pydamon/_observe/sampling/spot_looks.py": "so many spots",
    "tests/recordings.py": "recordings of machines with pages of 4 KiB",
    "tests/hostile_bombs.py": "recordings of machines with pages of 4 KiB",
    "tests/integration/bench/test_bench_cli.py": "the stride of a workload",
    "tests/vm/test_sysfs_tree.py": "an address that a file takes",
    "tests/unit": "made-up memory, in pages of 4 KiB, and recordings of such machines",
}
"""Files and directories in which the numbers are something else, or are the data of a test."""


def test_no_module_and_no_live_test_has_the_page_size_written_into_it() -> None:
    said = [
        f"{path.relative_to(ROOT)}:{line}"
        for directory in ("src", "tests")
        for path in sorted((ROOT / directory).rglob("*.py"))
        if not any(str(path.relative_to(ROOT)).startswith(name) for name in ALLOWED)
        for line in literals(path.read_text())
    ]
    assert said == [], "use PAGE_SIZE, HUGE_BYTES, SMALLEST_PAGE, or mmap.PAGESIZE in a program"


@pytest.mark.parametrize("name", [name for name in ALLOWED if name.endswith(".py")])
def test_every_exception_is_needed(name: str) -> None:
    assert list(literals((ROOT / name).read_text()))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x = 4096", 1),
        ("x = y << 12", 1),
        ("x = 2 << 20", 1),
        ("x = 'for i in range(0, n, 4096): pass'", 1),
        ("x = f'{n}:4096'", 1),
        ('"""4096"""', 0),
        ("def f():\n    '''4096'''", 0),
        ("x = 1\n'''4096 bytes'''", 0),
        ("x = 14096 + 1 << 13", 0),
    ],
)
def test_literals_of_a_source(text: str, count: int) -> None:
    assert len(list(literals(text))) == count


def literals(source: str) -> Iterator[int]:
    """The lines with a page size, outside docstrings."""
    tree = ast.parse(source)
    expressions = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    docstrings = {id(node.value) for node in expressions}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as text) if id(node) not in docstrings:
                if IN_TEXT.search(text):
                    yield node.lineno
            case ast.Constant(value=int() as number) if number in SIZES:
                yield node.lineno
            case ast.BinOp(op=ast.LShift() | ast.RShift(), right=ast.Constant(value=12)):
                yield node.lineno
            case ast.BinOp(
                left=ast.Constant(value=2), op=ast.LShift(), right=ast.Constant(value=20)
            ):
                yield node.lineno

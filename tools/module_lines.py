"""Check that no module has more than 400 lines: python tools/module_lines.py

A longer module holds more than one idea. `EXCEPTIONS` lists the modules that are still to be split;
an entry that is no longer needed is an error, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "tools", "examples")
MOST_LINES = 400
EXCEPTIONS = {
    "tests/unit/act/test_refusals.py",
    "tests/unit/data/test_recording.py",
    "tests/unit/show/test_web.py",
    "tests/unit/show/test_top.py",
    "tests/vm/test_real.py",
}


def long_modules() -> dict[str, int]:
    """Return the modules with too many lines, and their number of lines."""
    lines = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    return {name: count for name, count in lines.items() if count > MOST_LINES}


def main() -> int:
    """Print what is wrong; return the exit code."""
    long = long_modules()
    for name, count in long.items():
        if name not in EXCEPTIONS:
            print(f"{name}: {count} lines, at most {MOST_LINES} are allowed")
    for name in sorted(EXCEPTIONS - set(long)):
        print(f"{name}: has at most {MOST_LINES} lines now, remove its exception in {__file__}")
    return int(set(long) != EXCEPTIONS)


if __name__ == "__main__":
    sys.exit(main())

"""Names of functions as people write them: heaptrack demangles those of C++ only."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable

__all__ = ["demangled"]

_V0 = "_R"
_HASH = re.compile(r"::h[0-9a-f]{16}$")
"""The end of names that Rust's older way to mangle makes for C++'s demangler."""
_CRATE = re.compile(r"(?<=\w)\[[0-9a-f]{8,16}\]")
"""The hash of a crate behind its name, in names of the newer way."""
_ESCAPE = re.compile(r"\$([A-Za-z0-9]+)\$|\.\.")
_ESCAPES = {"LT": "<", "GT": ">", "RF": "&", "BP": "*", "LP": "(", "RP": ")", "C": ",", "SP": "@"}


def demangled(names: Iterable[str]) -> dict[str, str]:
    """The names of Rust's functions, by what heaptrack calls them; all other names are left out.

    Those of the newer way to mangle (`_R...`) need `c++filt` of GNU binutils.
    """
    distinct = set(names)
    told = {name: _legacy(name) for name in distinct if _HASH.search(name)}
    return told | _by_filter(sorted(name for name in distinct if name.startswith(_V0)))


def _legacy(name: str) -> str:
    name = _HASH.sub("", name)
    return _ESCAPE.sub(_character, re.sub(r"(^|::)_(?=\$)", r"\1", name))


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code is None:  # two dots
        return "::"
    if re.fullmatch(r"u[0-9a-f]{1,5}", code):
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, match[0])


def _by_filter(names: list[str]) -> dict[str, str]:
    program = shutil.which("c++filt")
    if program is None or not names:
        return {}
    try:
        done = subprocess.run(
            [program], input="\n".join(names) + "\n", capture_output=True, text=True, check=True
        )
    except (OSError, ValueError, subprocess.CalledProcessError):
        return {}
    lines = _CRATE.sub("", done.stdout).split("\n")[:-1]
    return dict(zip(names, lines, strict=True)) if len(lines) == len(names) else {}

"""The privileged part stays small, and imports nothing but the standard library and itself.

Private names: it is the place of the package that counts.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

from pydamon import _daemon

_PLACE = Path(_daemon.__file__).parent
_MOST_LINES = 800
_LAYOUT = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
)


def code_lines(path: Path) -> int:
    """The lines of a file that hold code: no blank lines, comments or docstrings."""
    text = path.read_text()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    used: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            used |= set(range(token.start[0], token.end[0] + 1))
    return len(used - documented)


def test_it_has_less_than_800_lines_of_code() -> None:
    assert sum(map(code_lines, _PLACE.glob("*.py"))) < _MOST_LINES


def test_each_module_imports_the_standard_library_and_its_neighbours_only() -> None:
    for path in _PLACE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
                assert names <= sys.stdlib_module_names, path
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or (node.module or "") in sys.stdlib_module_names | {
                    "__future__",
                    "collections.abc",
                }, path


def test_it_loads_without_site_packages_and_without_the_rest_of_pydamon() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); import _daemon.main; "
        "print(*(name for name in sys.modules if 'numpy' in name or 'pydamon' in name))"
    )
    words = [sys.executable, "-I", "-S", "-c", code, str(_PLACE.parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

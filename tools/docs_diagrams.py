"""Draw the Mermaid diagrams of docs/: docs_diagrams.py MERMAID_JS, from the project's root.

Sites that show Mermaid load it from another host. Here each diagram is a picture beside its source,
named after it. MERMAID_JS is `dist/mermaid.min.js` of what `npm pack mermaid` fetches; it runs in a
headless Chromium. Pictures that no page needs any more are removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

__all__ = ["BLOCK", "picture_path"]

BLOCK = re.compile(r"^```mermaid\n(?P<source>.*?)^```$", re.MULTILINE | re.DOTALL)
_DOCS = Path("docs")
_DIRECTORY = Path("diagrams")
_SETTINGS = {
    "startOnLoad": False,
    "theme": "neutral",
    "htmlLabels": False,
    "flowchart": {
        "htmlLabels": False,
        "rankSpacing": 20,
        "nodeSpacing": 24,
        "padding": 8,
        "wrappingWidth": 400,
    },
    "fontFamily": "system-ui, sans-serif",
    "deterministicIds": True,
}


def picture_path(source: str) -> Path:
    """Where the picture of a diagram is, below docs/."""
    return _DIRECTORY / f"{hashlib.sha256(source.encode()).hexdigest()[:12]}.svg"


def main(mermaid: str) -> None:
    """Draw what is missing."""
    sources = {
        picture_path(match["source"]): match["source"]
        for page in sorted(_DOCS.rglob("*.md"))
        for match in BLOCK.finditer(page.read_text())
    }
    for picture in (_DOCS / _DIRECTORY).glob("*.svg"):
        if picture.relative_to(_DOCS) not in sources:
            picture.unlink()
    missing = {path: text for path, text in sources.items() if not (_DOCS / path).exists()}
    if missing:
        _draw(missing, Path(mermaid).read_text())


def _draw(sources: dict[Path, str], mermaid: str) -> None:
    from tests.browser import chromium  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "page.html"
        page.write_text(f"<!doctype html><meta charset=utf-8><script>{mermaid}</script>")
        with chromium(Path(directory) / "profile") as tab:
            tab.open(page)
            tab.evaluate(f"mermaid.initialize({json.dumps(_SETTINGS)})")
            for path, source in sources.items():
                name = json.dumps(f"d{path.stem}")
                svg: str = tab.evaluate(
                    f"mermaid.render({name}, {json.dumps(source)}).then(result => result.svg)"
                )
                (_DOCS / path).write_text(re.sub(r"\s*\n\s*", " ", svg) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, "")  # for the tests' browser
    main(*sys.argv[1:])

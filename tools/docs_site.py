"""What mkdocs does beyond Markdown for this site (`hooks` in mkdocs.yml).

Commands and names of the library come from the program itself, diagrams from `docs/diagrams`, and
the build fails where a page would load anything from another host.
"""

from __future__ import annotations

import logging
import re
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docs_commands import MARKER, command_names, render
from docs_diagrams import BLOCK, picture_path
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

import pydamon

__all__ = ["on_config", "on_env", "on_page_markdown", "on_post_build"]

_log = logging.getLogger("mkdocs.hooks.docs_site")
_NAME = re.compile(r"^::: pydamon\.(\w+)", re.MULTILINE)
_NAMES_OF = re.compile(r"^<!-- names of (?P<module>[\w.]+), in (?P<home>[\w.]+) -->$", re.MULTILINE)
"""Where a module takes its names from another one in a way that only running it shows."""
_REFERENCE = "reference/python/"
_OTHER_NAMES = "<!-- other names -->"
_LOADING = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
_ELSEWHERE = re.compile(r"^(https?:)?//")
_IMPORT = re.compile(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')]+)""")

_shown_commands: set[str] = set()
_documented: set[str] = set()


def on_config(config: MkDocsConfig) -> None:
    """Note which names of the library have a place of their own in a page."""
    _shown_commands.clear()
    _documented.clear()
    for path in Path(config.docs_dir).glob(f"{_REFERENCE}*.md"):
        text = path.read_text()
        _documented.update(_NAME.findall(text))
        _documented.update(match["module"].partition(".")[2] for match in _NAMES_OF.finditer(text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Put in what comes from the program, and diagrams."""
    markdown = MARKER.sub(lambda match: _command(match["name"], page), markdown)
    if _OTHER_NAMES in markdown:
        markdown = markdown.replace(_OTHER_NAMES, _other_names())
    if page.file.src_uri.startswith(_REFERENCE):
        markdown = _NAMES_OF.sub(_names_of, _NAME.sub(_known, markdown))
    return BLOCK.sub(lambda match: _diagram(match["source"], page, config), markdown)


def _command(name: str, page: Page) -> str:
    try:
        section = render(name)
    except KeyError:
        raise PluginError(f"{page.file.src_uri}: there is no command {name!r}") from None
    _shown_commands.add(name)
    return section


def _other_names() -> str:
    """The names of `pydamon` that no page lists: so new ones are documented at once."""
    return "\n\n".join(f"::: pydamon.{name}" for name in pydamon.__all__ if name not in _documented)


def _names_of(match: re.Match[str]) -> str:
    names = import_module(match["module"]).__all__
    return "\n\n".join(f"::: {match['home']}.{name}" for name in names)


def _known(match: re.Match[str]) -> str:
    """A name with a place in a page, unless the library has it no more."""
    if match[1] in pydamon.__all__ or find_spec(f"pydamon.{match[1]}"):
        return match[0]
    _log.info("pydamon.%s is no more: take it out of the reference", match[1])
    return ""


def _diagram(source: str, page: Page, config: MkDocsConfig) -> str:
    path = Path(config.docs_dir) / picture_path(source)
    if not path.exists():
        raise PluginError(
            f"{page.file.src_uri}: a diagram has changed: draw it with "
            "`python tools/docs_diagrams.py MERMAID_JS`"
        )
    return f'<div class="diagram">{path.read_text()}</div>'


def on_env(*_: Any, **__: Any) -> None:
    """Fail where a command is in no page."""
    if missing := sorted(command_names() - _shown_commands):
        raise PluginError(f"no page of the reference shows: {', '.join(missing)}")


class _Loaded(HTMLParser):
    """The addresses that a page loads by itself: not those of links."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") in ("canonical", "alternate", "next", "prev"):
            return
        if address := values.get(_LOADING.get(tag, "")):
            self.addresses.append(address)
        if style := values.get("style"):
            self.addresses += _IMPORT.findall(style)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a page or a style sheet loads something from another host."""
    site = Path(config.site_dir)
    for path in site.rglob("*.html"):
        parser = _Loaded()
        parser.feed(path.read_text())
        _check_addresses(path.relative_to(site), parser.addresses)
    for path in site.rglob("*.css"):
        _check_addresses(path.relative_to(site), _IMPORT.findall(path.read_text()))


def _check_addresses(path: Path, addresses: list[str]) -> None:
    for address in addresses:
        if _ELSEWHERE.match(address):
            raise PluginError(f"{path} loads {address}: readers may be offline")

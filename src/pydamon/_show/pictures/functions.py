"""The functions that ran while memory was recorded, as HTML: a table with bars."""

from __future__ import annotations

from html import escape
from pathlib import PurePath

from pydamon._data.analysis import FunctionShare, Profile
from pydamon._show.text import percent, printable

__all__ = ["functions_section"]

_MOST = 12


def functions_section(ran: Profile) -> str:
    """The functions that ran most, and which part of the samples found each."""
    shown = ran.functions[:_MOST]
    rest = len(ran.functions) - len(shown)
    more = f", and {rest} more functions" if rest else ""
    rows = "".join(map(_row, shown))
    return _SECTION.format(rows=rows, samples=f"{ran.samples_inside:,} samples{more}")


def _row(share: FunctionShare) -> str:
    name, file = escape(printable(share.function)), escape(printable(share.file))
    short = escape(printable(PurePath(share.file).name))
    return (
        f'<tr><th scope="row">{name}</th><td title="{file}">{short}</td>'
        f'<td>{percent(share.inside)}</td><td class="bar">'
        f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 0h{100 * share.inside:.1f}v1h-{100 * share.inside:.1f}z"/></svg></td></tr>'
    )


_SECTION = """<section class="functions" aria-labelledby="functions">
<header><h2 id="functions">Functions that ran</h2><span>{samples}</span></header>
<table><tbody>{rows}</tbody></table>
</section>
"""

"""Results that terminals, notebooks and picture files can show, and names made safe to show.

A result does not know what it looks like: its view lives in the package `_VIEWS`, which is
imported by its name when somebody looks. So what computes never imports what shows.

A name of a process, file or cgroup may hold any character: control characters that a terminal
obeys, marks that turn the direction of the text behind them, bytes that are not UTF-8. All code
that shows a name uses the functions here; code that stores names stores them unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Displayable", "Drawable", "blanked", "dump_json", "printable"]

_VIEWS = "pydamon._show.results"
_PICTURES = "pydamon._show.pictures"


class Displayable:
    """A result that `rich.print` shows in a terminal, and a notebook below its cell.

    Examples
    --------
    >>> import io, rich, pydamon
    >>> out = io.StringIO()
    >>> rich.print(pydamon.SchemeStats(nr_tried=3, sz_tried=12288), file=out)
    >>> print(out.getvalue().splitlines()[0].rstrip())
    tried      12 KiB in 3 regions
    """

    __slots__ = ()

    def __rich__(self) -> Any:
        return import_module(_VIEWS).view_of(self)

    def _repr_html_(self) -> str:
        html: str = import_module(_VIEWS).html_of(self)
        return html

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        bundle: dict[str, str] = import_module(_VIEWS).mime_bundle(self, include, exclude)
        return bundle


class Drawable(Displayable):
    """A result that can also be written to a picture file, or drawn by Matplotlib."""

    __slots__ = ()

    def save(self, path: str | Path) -> None:
        """Write a picture; the suffix of *path* says of which kind.

        Parameters
        ----------
        path
            A name that ends in `.png` (needs `pip install 'pydamon[png]'`), `.svg`, or `.html`: one
            page, which needs no network; that of a heat map is to zoom into. A file of that name is
            overwritten, as by Matplotlib's `savefig`.

        Raises
        ------
        UsageError
            For another suffix, and where a package is missing.
        RecordingError
            Where the file cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile, pydamon
        >>> from pydamon import Access, Phase, Trace
        >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     file = pathlib.Path(directory, "run.damon")
        ...     with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
        ...         info = pydamon.RecordingInfo(mon.attrs, mon.probe_name, 0)
        ...         with pydamon.Recorder(file, info) as recorder:
        ...             for snapshot in mon.run("8s"):
        ...                 recorder.write(snapshot)
        ...     heatmap = pydamon.analysis.heatmap(pydamon.read_recording(file))
        ...     heatmap.save(file.with_suffix(".svg"))
        ...     file.with_suffix(".svg").read_text()[:4]
        '<svg'
        """
        import_module(_PICTURES).save(self, path)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into Matplotlib axes; needs `pip install 'pydamon[plot]'`.

        Parameters
        ----------
        ax
            Where to draw: by default in a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes. A heat map has addresses downwards and time to the right, labelled like
            pydamon's own pictures: addresses on the left, names of mappings on the right.

        Raises
        ------
        UsageError
            Where Matplotlib is not installed.
        """
        axes: Axes = import_module(_PICTURES).plot(self, ax)
        return axes


_LONE_SURROGATE = re.compile(
    r"(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\(ud[89a-f][0-9a-f]{2})"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Replace each character that cannot be shown by an escape (`\n`, `\x1b`, `\u202e`).

    The result is one line without control characters, bidirectional marks and lone surrogates,
    valid in UTF-8, XML and a Prometheus label. It may still hold `<`, `&` and quotes.

    Examples
    --------
    >>> printable("a\x1b[31mred\u202e\udcff")
    'a\\x1b[31mred\\u202e\\xff'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def blanked(text: str) -> str:
    """Replace each character that cannot be shown by a blank; the length stays."""
    return "".join(char if char.isprintable() else " " for char in text)


def dump_json(document: Any, *, compact: bool = False) -> str:
    r"""Write a document as JSON that every parser takes: ASCII, and no lone surrogate.

    A byte of a name that is not UTF-8 is a lone surrogate in Python, which JSON must not hold: it
    becomes the six characters `\udcff`, as in recordings.
    """
    # Imported here: most users of this module need no JSON, and start sooner.
    import json  # noqa: PLC0415

    text = json.dumps(document, separators=(",", ":") if compact else None)
    if "\\ud" in text:
        text = _LONE_SURROGATE.sub(lambda match: match[1] or "\\\\" + match[2], text)
    return text


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, by surrogateescape
        code -= 0xDC00
    if char in _SHORT:
        return _SHORT[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

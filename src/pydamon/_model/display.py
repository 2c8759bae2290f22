"""Results that terminals, notebooks and picture files can show.

A result does not know what it looks like: its view lives in the package `_VIEWS`, which is
imported by its name when somebody looks. So what computes never imports what shows.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Displayable", "Drawable"]

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
            page to zoom into, which needs no network. A file of that name is overwritten, as by
            Matplotlib's `savefig`.

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
            The axes, with addresses downwards and time to the right. They are labelled like
            pydamon's own pictures: addresses on the left, names of mappings on the right.

        Raises
        ------
        UsageError
            Where Matplotlib is not installed.
        """
        axes: Axes = import_module(_PICTURES).plot(self, ax)
        return axes

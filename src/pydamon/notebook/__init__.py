"""Notebooks: `%load_ext pydamon.notebook`.

Snapshots, recordings, heat maps and reports show as pictures and tables then, and `%%pydamon`
monitors what a cell runs.
"""

from pydamon.notebook.html import FORMATS, to_html
from pydamon.notebook.magic import CellUse, load_ipython_extension

__all__ = ["FORMATS", "CellUse", "load_ipython_extension", "to_html"]

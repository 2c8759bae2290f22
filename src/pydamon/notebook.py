"""Notebooks: `%load_ext pydamon.notebook` adds the cell magic `%%pydamon`.

Results show themselves in a notebook without it.
"""

from pydamon._show.notebook import *  # noqa: F403
from pydamon._show.notebook import __all__  # noqa: F401

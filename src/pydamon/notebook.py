"""Notebooks: `%load_ext pydamon.notebook` shows results as HTML and adds `%%pydamon`."""

from pydamon._show.notebook import *  # noqa: F403
from pydamon._show.notebook import __all__  # noqa: F401

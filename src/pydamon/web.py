"""See memory live in a browser; needs `pip install 'pydamon[web]'`."""

from pydamon._show.web import *  # noqa: F403
from pydamon._show.web import __all__  # noqa: F401

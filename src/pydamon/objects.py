"""Which objects of this interpreter are in use: arrays, frames, tensors, buffers."""

from pydamon._objects import *  # noqa: F403
from pydamon._objects import __all__  # noqa: F401

"""Programs whose memory use is known, for demonstrations, tests and benchmarks."""

from pydamon._workloads import *  # noqa: F403
from pydamon._workloads import __all__  # noqa: F401

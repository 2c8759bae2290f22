"""Programs whose accesses are known exactly, for demonstrations, tests and benchmarks."""

from pydamon._workloads import *  # noqa: F403
from pydamon._workloads import __all__  # noqa: F401

"""`python -m pydamon`."""

from pydamon.cli.main import run

run()

"""`python -m pydamon`."""

from pydamon._cli.main import run

run()

"""Programs whose use of memory is known, for demonstrations and tests."""

from pathlib import Path

__all__ = ["PROGRAM"]

PROGRAM = Path(__file__).with_name("demo.py")
"""The demonstration's program: a script of its own, so that it has no more than its own memory."""

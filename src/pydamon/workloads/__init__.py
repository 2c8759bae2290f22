"""Programs whose use of memory is known, for demonstrations and tests.

They are scripts of their own, so that they have no more than their own memory.
"""

from pathlib import Path

__all__ = ["DEMO", "QUARTER"]

DEMO = Path(__file__).with_name("demo.py")
QUARTER = Path(__file__).with_name("quarter.py")

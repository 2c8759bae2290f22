from __future__ import annotations

from tests.hostile import all_tried


def test_files_that_mean_harm_end_in_an_error_line() -> None:
    """A few of them; `make hostile` tries 1,000."""
    outcomes = all_tried(30, seed=2)
    assert [one for one in outcomes if one.wrong] == []
    assert sum("pydamon: " in one.error for one in outcomes) > 8

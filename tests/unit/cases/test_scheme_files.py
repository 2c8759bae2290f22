"""Scheme files that once did more than was written, or ended in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydamon import AccessPattern, UsageError, read_damo_schemes
from pydamon._act.policies import POLICIES, TargetSelection, load_config

FILES = Path(__file__).parent


def load(path: Path) -> None:
    if path.suffix == ".json":
        read_damo_schemes(path)
    else:
        load_config(path, POLICIES, target=TargetSelection(pids=(1,)))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("dj_bare_rate.json", AccessPattern(min_rate="0%", max_rate="10%", min_age="5us")),
        ("dj_samples.json", AccessPattern(max_size=0, max_rate=5, max_age=30)),
        ("dj_bom.json", AccessPattern(min_rate="0%", max_rate="0%", min_age="1s")),
    ],
)
def test_files_of_damo_mean_what_damo_says(name: str, pattern: AccessPattern) -> None:
    (scheme,) = read_damo_schemes(FILES / name)
    assert scheme.pattern == pattern


def test_a_byte_order_mark_before_a_configuration() -> None:
    load(FILES / "tm_bom.toml")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("dj_Infinity.json", "schemes[0].access_pattern.sz_bytes.min: not a finite number"),
        ("dj_goal_complement.json", "schemes[0].quotas.goals[0].complement:"),
        ("dj_goal_percent.json", "schemes[0].quotas.goals[1].complement:"),
        ("dj_typo_pageout.json", "schemes[0].access_patern: not known"),
        ("dj_kd_null.json", "kdamonds[0].contexts: not a list"),
        ("tm_policy.toml", "policy.min_age: not a duration: '-5s'"),
        ("tm_inf.toml", "monitoring.cpu_budget_percent: not a finite number"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_place(name: str, place: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(FILES / name)
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("deep.json", "[" * 400_000), ("deep.toml", "a." * 100_000 + "b=1")]
)
def test_what_is_nested_without_end_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match="32"):
        load(path)

"""Schemes from TOML and from damo's JSON; errors say where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pydamon import (
    AccessPattern,
    Filter,
    Goal,
    Guard,
    Quota,
    Scheme,
    UsageError,
    Watermarks,
    Weights,
    read_damo_schemes,
    read_schemes,
)
from pydamon._model.schemes import Age

_TOML = """
[[schemes]]
name = "take what is idle"
action = "pageout"
apply_interval = "1s"
pattern = { max_rate = "0%", min_age = "2min", min_size = "64K" }
filters = [ { kind = "anon", allow = false }, { kind = "young", allow = false } ]
guard = { refaults = 0.2 }

[schemes.quota]
time = "10ms"
bytes = "128M"
weights = { age = 1 }
goals = [ { metric = "node_mem_free_bp", node = 0, target = 500 } ]

[schemes.watermarks]
metric = "free_mem_rate"
high = 500
mid = 400
low = 200

[[schemes]]
action = "stat"
"""


def test_toml_says_what_python_says(tmp_path: Path) -> None:
    (tmp_path / "schemes.toml").write_text(_TOML)
    assert read_schemes(tmp_path / "schemes.toml") == [
        Scheme(
            "pageout",
            AccessPattern(max_rate="0%", min_age="2min", min_size="64K"),
            name="take what is idle",
            apply_interval="1s",
            filters=[Filter("anon"), Filter("young")],
            guard=Guard(refaults=0.2),
            quota=Quota(
                time="10ms",
                bytes="128M",
                weights=Weights(age=1),
                goals=[Goal(metric="node_mem_free_bp", node=0, target=500)],
            ),
            watermarks=Watermarks(metric="free_mem_rate", high=500, mid=400, low=200),
        ),
        Scheme("stat"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("action = 'page'", r"schemes\[0\]\.action: there is no 'page'; did you mean"),
        ("quota = {}", r"schemes\[0\]\.action: is missing"),
        ("action = 'cold'\nquota = 3", r"schemes\[0\]\.quota: not a table"),
        (
            "action = 'cold'\nquota = { byte = 3 }",
            r"schemes\[0\]\.quota\.byte: not known; did you mean bytes\?",
        ),
        ("action = 'cold'\nquota = { time = 3 }", r"schemes\[0\]\.quota\.time: not a duration"),
        ("action = 'cold'\nquota = { bytes = '3X' }", r"schemes\[0\]\.quota\.bytes: not a size"),
        ("action = 'cold'\nfilters = [{ kind = 'a' }]", r"filters\[0\]\.kind: there is no 'a'"),
        ("action = 'cold'\nname = 3", r"schemes\[0\]\.name: not text"),
        ("action = 'cold'\npattern = { min_age = true }", r"schemes\[0\]\.pattern\.min_age: "),
        ("action =", "is not TOML"),
    ],
)
def test_errors_say_where(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "schemes.toml").write_text(f"[[schemes]]\n{text}\n")
    with pytest.raises(UsageError, match=says):
        read_schemes(tmp_path / "schemes.toml")


def test_other_tables_are_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "schemes.toml").write_text("[[scheme]]\naction = 'stat'\n")
    with pytest.raises(UsageError, match="scheme: not known"):
        read_schemes(tmp_path / "schemes.toml")
    with pytest.raises(UsageError, match="No such file"):
        read_schemes(tmp_path / "none.toml")


_DAMO = {
    "action": "pageout",
    "access_pattern": {
        "sz_bytes": {"min": "4.000 KiB", "max": "max"},
        "nr_accesses": {"min": "0 %", "max": "5 %"},
        "age": {"min": "2 m 30 s", "max": "max"},
    },
    "apply_interval_us": "1 s",
    "quotas": {
        "time_ms": "10 ms",
        "sz_bytes": "128.000 MiB",
        "reset_interval_ms": 1000,
        "goals": [
            {"metric": "user_input", "target_value": "1,000", "current_value": 5, "nid": None}
        ],
        "weights": {"sz_permil": "0 %", "nr_accesses_permil": "5 %", "age_permil": 950},
    },
    "watermarks": {
        "metric": "free_mem_rate",
        "interval_us": 5_000_000,
        "high_permil": "50 %",
        "mid_permil": "40 %",
        "low_permil": 200,
    },
    "filters": [
        {"filter_type": "anon", "matching": True, "allow": False},
        {
            "filter_type": "addr",
            "matching": True,
            "allow": True,
            "address_range": {"start": "4,096", "end": 8192},
        },
    ],
}
_SAME = Scheme(
    "pageout",
    AccessPattern(min_size=4096, min_rate="0%", max_rate="5%", min_age="150s"),
    apply_interval="1s",
    quota=Quota(
        time="10ms",
        bytes="128M",
        reset="1s",
        goals=[Goal(metric="user_input", target=1000, value=5)],
        weights=Weights(rate=50, age=950),
    ),
    watermarks=Watermarks(metric="free_mem_rate", interval="5s", high=500, mid=400, low=200),
    filters=[Filter("anon"), Filter("addr", allow=True, start=4096, end=8192)],
)


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_damo_writes_means_the_same_here(tmp_path: Path, wrapped: bool) -> None:
    data: object = [_DAMO]
    if wrapped:
        data = {"kdamonds": [{"contexts": [{"ops": "vaddr", "schemes": [_DAMO]}]}]}
    (tmp_path / "damo.json").write_text(json.dumps(data))
    assert read_damo_schemes(tmp_path / "damo.json") == [_SAME]


def test_older_files_of_damo_name_units_apart(tmp_path: Path) -> None:
    pattern = {
        "sz_bytes": {"min": "min", "max": "max"},
        "nr_accesses_unit": "samples",
        "nr_accesses": {"min": "min", "max": 3},
        "age_unit": "aggr_intervals",
        "age": {"min": "20", "max": "max"},
    }
    (tmp_path / "damo.json").write_text(json.dumps([{"access_pattern": pattern}]))
    (scheme,) = read_damo_schemes(tmp_path / "damo.json")
    assert scheme == Scheme("stat", AccessPattern(max_rate=3, min_age=Age(20)))


@pytest.mark.parametrize("text", ["{}", "[", '[{"action": "swap"}]', "[]", '[{"filters": [{}]}]'])
def test_what_is_not_damos_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "damo.json").write_text(text)
    with pytest.raises(UsageError):
        read_damo_schemes(tmp_path / "damo.json")

"""damo's YAML: the same schemes as of damo's JSON; errors say where."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pydamon import Scheme, UsageError, read_damo_schemes
from pydamon._model.plain import parse  # Private: any text must be refused or read by it.
from pydamon.policies import POLICIES, load_config
from tests.command_line import main

KDAMONDS: dict[str, Any] = {
    "kdamonds": [
        {
            "state": "off",
            "pid": None,
            "refresh_ms": 0,
            "contexts": [
                {
                    "ops": "vaddr",
                    "addr_unit": "1 B",
                    "targets": [{"pid": "1234", "obsolete": False, "regions": []}],
                    "intervals": {
                        "sample_us": "10 ms",
                        "aggr_us": "200 ms",
                        "ops_update_us": "2 s",
                        "intervals_goal": {
                            "access_bp": "0 %",
                            "aggrs": "0",
                            "min_sample_us": "0 ns",
                            "max_sample_us": "0 ns",
                        },
                    },
                    "nr_regions": {"min": "10", "max": "1,000"},
                    "probes": [],
                    "sample_control": {
                        "primitives_enabled": {"page_table": True, "page_fault": False},
                        "sample_filters": [],
                    },
                    "pause": False,
                    "schemes": [
                        {
                            "action": "pageout",
                            "access_pattern": {
                                "sz_bytes": {"min": "4.000 KiB", "max": "max"},
                                "nr_accesses": {"min": "0 %", "max": "5 %"},
                                "age": {"min": "2 m 30 s", "max": "max"},
                            },
                            "apply_interval_us": "1 s",
                            "quotas": {"time_ms": "10 ms", "sz_bytes": "128.000 MiB"},
                            "filters": [],
                        }
                    ],
                }
            ],
        }
    ]
}


def dumped(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=False)
    return text


@pytest.mark.parametrize("name", ["damo.yaml", "damo.yml", "kdamonds"])
def test_yaml_says_what_json_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(dumped(KDAMONDS))
    (tmp_path / "damo.json").write_text(json.dumps(KDAMONDS))
    ours, theirs = (load_config(tmp_path / each, POLICIES) for each in (name, "damo.json"))
    assert ours.schemes == theirs.schemes
    assert ours.monitoring == theirs.monitoring
    assert ours.target.pids == (1234,)
    assert (ours.monitoring.sample, ours.monitoring.max_regions) == ("10000000ns", 1000)


@pytest.mark.parametrize("shape", ["contexts", "context", "schemes", "scheme"])
def test_every_shape_of_damo_is_read(tmp_path: Path, shape: str) -> None:
    kdamond = KDAMONDS["kdamonds"][0]
    context = kdamond["contexts"][0]
    values = {
        "contexts": {"contexts": kdamond["contexts"]},
        "context": context,
        "schemes": context["schemes"],
        "scheme": context["schemes"][0],
    }
    path = tmp_path / "damo.yaml"
    path.write_text(f"# written by damo\n{dumped(values[shape])}")
    (scheme,) = read_damo_schemes(path)
    assert isinstance(scheme, Scheme)
    assert (scheme.action, str(scheme.pattern.min_age)) == ("pageout", "2 min 30 s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- action: pageout\n  patern: {}\n", "schemes[0].patern: not known"),
        ("- action: pageout\n  action: stat\n", "schemes[0].action: stands there twice"),
        ("- action: [pageout\n", "is not YAML: "),
        ("- &a {action: stat}\n- *a\n", "aliases are not read: line 2, column 3"),
        ("- 1: pageout\n", "a key must be text: line 1, column 3"),
        ("- action: !!python/object:os.system x\n", "could not determine a constructor"),
        ("- action: pageout\n--- \n- action: stat\n", "is not YAML"),
        ("- action: \x00\n", "is not YAML"),
        ("- " * 5000 + "action: stat", "nested too deep"),
        ("# line\n" * 30_000, "more than 20,000 lines"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "damo.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_damo_schemes(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_keep_their_meaning(tmp_path: Path) -> None:
    path = tmp_path / "damo.yaml"
    path.write_text("- {action: stat, name: on}\n- {action: stat, name: 2026-01-01}\n")
    assert [scheme.name for scheme in read_damo_schemes(path)] == ["on", "2026-01-01"]


_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_VALUES)
def test_what_yaml_writes_is_read_as_it_was(value: Any) -> None:
    assert parse(dumped({"schemes": value}).encode(), "damo.yaml").value == {"schemes": value}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UsageError):
        parse(text.encode(errors="replace"), "damo.yaml")


def test_without_pyyaml_the_hint_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damo.yaml"
    path.write_text(dumped(KDAMONDS))
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["apply", str(path)]) == 1
    assert "pip install 'pydamon[yaml]'" in capsys.readouterr().err

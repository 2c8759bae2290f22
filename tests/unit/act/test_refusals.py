"""Files of schemes that strangers wrote: what they say is done, or refused by its place."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydamon import AccessPattern, PydamonError, Scheme, UsageError, read_damo_schemes
from pydamon._act.policies import POLICIES, TargetSelection, load_config
from pydamon._cli.main import main
from pydamon._model.attrs import IntervalGoal
from pydamon._model.schemes import Age, Rate

_IDLE = (
    '[{"action":"pageout","access_pattern":{"sz_bytes":{"min":0,"max":"max"},'
    '"nr_accesses":{"min":"0 %","max":"0 %"},"age":{"min":"1 s","max":"max"}}}]'
)
_GOAL = (
    '[{"action":"pageout","quotas":{"time_ms":"10 ms","sz_bytes":"0 B","reset_interval_ms":"1 s",'
    '"goals":[{"metric":"node_mem_used_bp","target_value":"99.7 %","current_value":"0","nid":0}'
)
_STAT = '[target]\npids=[1]\n[[schemes]]\naction="stat"\n'


def _damo(tmp_path: Path, text: str | bytes) -> list[Scheme]:
    path = tmp_path / "damo.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_damo_schemes(path)


def _scheme(tmp_path: Path, **keys: Any) -> Scheme:
    (scheme,) = _damo(tmp_path, json.dumps([{"action": "cold", **keys}]))
    return scheme


def test_a_bare_rate_is_a_percentage_and_a_bare_age_is_microseconds(tmp_path: Path) -> None:
    pattern = {
        "sz_bytes": {"min": 0, "max": "max"},
        "nr_accesses": {"min": 0, "max": 10},
        "age": {"min": 5, "max": "max"},
    }
    assert _scheme(tmp_path, access_pattern=pattern).pattern == AccessPattern(
        min_rate="0%", max_rate="10%", min_age="5us"
    )


def test_samples_and_aggregation_intervals_are_counted(tmp_path: Path) -> None:
    pattern = {
        "sz_bytes": {"min": 0, "max": 0},
        "nr_accesses": {"min": "0 samples", "max": "5 samples"},
        "age": {"min": "0 aggr_intervals", "max": "30 aggr_intervals"},
    }
    scheme = _scheme(tmp_path, comments="just for testing", access_pattern=pattern)
    assert scheme.pattern == AccessPattern(max_size=0, max_rate=5, max_age=30)


@pytest.mark.parametrize(
    ("low_high", "means"),
    [
        (("0.5 %", "max"), (Rate(0.5, "%"), None)),
        (("min", "18,446,744,073,709,551,615 %"), (Rate(0), None)),
        (("3", "50"), (Rate(3, "%"), Rate(50, "%"))),
        (("1 hz", "20 hz"), (Rate(1, "hz"), Rate(20, "hz"))),
    ],
)
def test_rates(tmp_path: Path, low_high: tuple[str, str], means: tuple[Rate, Rate | None]) -> None:
    bounds = dict(zip(("min", "max"), low_high, strict=True))
    pattern = _scheme(tmp_path, access_pattern={"nr_accesses": bounds}).pattern
    assert (pattern.min_rate, pattern.max_rate) == means


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ("2 m 30 s", Age(150 * 10**9, "ns")),
        ("1.5 s", Age(1_500_000_000, "ns")),
        ("1,000", Age(1_000_000, "ns")),
        ("10 aggr_intervals", Age(10)),
        ("10aggr_intervals", Age(10)),
    ],
)
def test_ages(tmp_path: Path, value: str, means: Age) -> None:
    scheme = _scheme(tmp_path, access_pattern={"age": {"min": value, "max": "max"}})
    assert scheme.pattern.min_age == means


@pytest.mark.parametrize(
    ("metric", "value", "means"),
    [
        ("node_mem_used_bp", "99.7 %", 9970),
        ("node_mem_free_bp", "0.5%", 50),
        ("active_mem_bp", "9,970", 9970),
        ("some_mem_psi_us", "10 ms", 10_000),
        ("some_mem_psi_us", 500, 500),
        ("user_input", "1,000", 1000),
    ],
)
def test_goals_have_the_unit_of_their_metric(
    tmp_path: Path, metric: str, value: object, means: int
) -> None:
    goal = {"metric": metric, "target_value": value, "current_value": "0", "nid": 0}
    (read,) = _scheme(tmp_path, quotas={"goals": [goal]}).quota.goals
    assert read.target == means


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_of_other_systems_are_read(tmp_path: Path, before: bytes, newline: str) -> None:
    text = _IDLE.replace(",", f",{newline}").encode()
    assert _damo(tmp_path, before + text) == [
        Scheme("pageout", AccessPattern(min_rate="0%", max_rate="0%", min_age="1s"))
    ]
    path = tmp_path / "schemes.toml"
    path.write_bytes(before + _STAT.replace("\n", newline).encode())
    assert load_config(path, POLICIES).schemes == (Scheme("stat"),)


@pytest.mark.parametrize("wrap", ["{}", '{{"schemes":{}}}', '{{"contexts":[{{"schemes":{}}}]}}'])
def test_every_shape_of_damos_files_is_read(tmp_path: Path, wrap: str) -> None:
    assert _damo(tmp_path, wrap.format(_IDLE)) == _damo(tmp_path, _IDLE)
    assert _damo(tmp_path, _IDLE[1:-1]) == _damo(tmp_path, _IDLE)


_REGION_UNITS = {"min": "0 %", "max": "18,446,744,073,709,551,615 %"}
_WRITTEN: dict[str, Any] = {
    "state": "on",
    "pid": "77",
    "refresh_ms": 0,
    "contexts": [
        {
            "ops": "vaddr",
            "addr_unit": "1 B",
            "targets": [{"pid": "1234", "obsolete": False, "regions": []}],
            "intervals": {
                "sample_us": "5 ms",
                "aggr_us": "100 ms",
                "ops_update_us": "1 s",
                "intervals_goal": {
                    "access_bp": "4 %",
                    "aggrs": "3",
                    "min_sample_us": "5 ms",
                    "max_sample_us": "10 s",
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
                    "action": "stat",
                    "dests": [],
                    "access_pattern": {
                        "sz_bytes": {"min": "0 B", "max": "max"},
                        "nr_accesses": _REGION_UNITS,
                        "age": {"min": "0 ns", "max": "max"},
                    },
                    "apply_interval_us": "0 ns",
                    "quotas": {
                        "time_ms": "0 ns",
                        "sz_bytes": "0 B",
                        "reset_interval_ms": "max",
                        "fail_charge_num": "0",
                        "fail_charge_denom": "0",
                        "goals": [],
                        "goal_tuner": "consist",
                        "effective_sz_bytes": "0 B",
                        "weights": {
                            "sz_permil": "0 %",
                            "nr_accesses_permil": "0 %",
                            "age_permil": "0 %",
                        },
                    },
                    "watermarks": {
                        "metric": "none",
                        "interval_us": "0 ns",
                        "high_permil": "0 %",
                        "mid_permil": "0 %",
                        "low_permil": "0 %",
                    },
                    "filters": [
                        {
                            "filter_type": "hugepage_size",
                            "matching": True,
                            "allow": True,
                            "memcg_path": None,
                            "address_range": None,
                            "damon_target_idx": None,
                            "hugepage_size": ["2.000 MiB", "max"],
                            "probe_hits_wsum_range": None,
                        }
                    ],
                    "stats": {"nr_tried": "0", "sz_tried": "0 B", "max_nr_snapshots": "7"},
                }
            ],
        }
    ],
}


def test_all_of_a_configuration_that_damo_wrote_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "damo.json"
    path.write_text(json.dumps({"kdamonds": [_WRITTEN]}))
    config = load_config(path, POLICIES)
    assert config.target == TargetSelection(pids=(1234,))
    assert config.monitoring.goal == IntervalGoal()
    assert (config.monitoring.aggr, config.monitoring.max_regions) == ("100000000ns", 1000)
    (scheme,) = config.schemes
    assert (scheme.action, scheme.max_snapshots, scheme.quota.limits) == ("stat", 7, False)
    assert scheme.pattern == AccessPattern(min_rate="0%", min_age="0s")
    assert load_config(path, POLICIES, target=TargetSelection(user="x")).target == TargetSelection(
        user="x"
    )


def _changed(place: list[str | int], value: Any) -> str:
    """The configuration with another value at a place."""
    data = json.loads(json.dumps({"kdamonds": [_WRITTEN]}))
    node = data
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return json.dumps(data)


_CONTEXT: list[str | int] = ["kdamonds", 0, "contexts", 0]
_FIRST: list[str | int] = [*_CONTEXT, "schemes", 0]


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ([*_CONTEXT, "ops"], "laddr", "there is no 'laddr'"),
        ([*_CONTEXT, "pause"], True, "cannot be done by pydamon"),
        ([*_CONTEXT, "addr_unit"], "4 KiB", "cannot be done by pydamon"),
        ([*_CONTEXT, "probes"], [{"weight": 1}], "cannot be done by pydamon"),
        ([*_CONTEXT, "intervals", "aggr_us"], "100 mss", "no unit is called 'mss' here; did you"),
        ([*_CONTEXT, "targets", 0, "pid"], "-1", "cannot be negative"),
        ([*_CONTEXT, "nr_regions", "most"], 3, "not known"),
        ([*_FIRST, "acces_pattern"], {}, "not known; did you mean access_pattern?"),
        ([*_FIRST, "access_pattern"], None, "not an object: null"),
        ([*_FIRST, "access_pattern", "sz_bytes"], [1, 2], "not an object: a list"),
        ([*_FIRST, "access_pattern", "sz_bytes", "min"], -4096, "cannot be negative"),
        ([*_FIRST, "access_pattern", "sz_bytes", "min"], "max", "nothing is as much"),
        ([*_FIRST, "access_pattern", "sz_bytes", "max"], "4k", "no unit is called 'k' here"),
        ([*_FIRST, "access_pattern", "sz_bytes", "max"], True, "not a number: true"),
        ([*_FIRST, "access_pattern", "nr_accesses", "max"], "150 %", "more than 100 %"),
        ([*_FIRST, "access_pattern", "nr_accesses", "max"], "5 smaples", "did you mean samples?"),
        ([*_FIRST, "access_pattern", "nr_accesses", "max"], "1.5 samples", "not a whole number"),
        ([*_FIRST, "access_pattern", "age", "min"], "5 weeks", "no unit is called 'weeks' here"),
        ([*_FIRST, "access_pattern", "age", "min"], float("nan"), "not a finite number: nan"),
        ([*_FIRST, "access_pattern", "age", "min"], 10**500, "not a finite number: inf"),
        ([*_FIRST, "action"], "page_out", "there is no 'page_out'; did you mean pageout?"),
        ([*_FIRST, "action"], ["pageout"], "not a word: a list"),
        ([*_FIRST, "target_nid"], 0, "is for migration only, not for stat"),
        ([*_FIRST, "quotas", "byte"], 3, "not known"),
        ([*_FIRST, "quotas", "weights", "size"], 3, "not known"),
        ([*_FIRST, "quotas", "goal_tuner"], "temporary", "did you mean temporal?"),
        ([*_FIRST, "quotas", "goals"], [{"metric": "user_input"}], "is missing"),
        ([*_FIRST, "watermarks", "metric"], "free_mem", "did you mean free_mem_rate?"),
        ([*_FIRST, "watermarks", "high_permil"], "50 ms", "no unit is called 'ms' here"),
        ([*_FIRST, "filters", 0, "filter_type"], "file", "there is no 'file'"),
        ([*_FIRST, "filters", 0, "matching"], 1, "not true or false: 1"),
        ([*_FIRST, "filters", 0, "memcg_path"], "/a", "is for filters of the type memcg"),
        ([*_FIRST, "filters", 0, "hugepage_size"], ["2M"], "not a list of two sizes"),
        ([*_FIRST, "stats", "max_nr_snapshots"], "x", "not a number: 'x'"),
    ],
)
def test_what_is_not_known_or_cannot_be_is_refused_by_its_place(
    tmp_path: Path, place: list[str | int], value: Any, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _damo(tmp_path, _changed(place, value))
    written = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'damo.json'}: {written[1:]}"), text
    assert says in text + caught.value.hint
    assert "\n" not in text + caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[{"action":"pageout","access_patern":{"age":{"min":"2 m","max":"max"}}}]',
            "schemes[0].access_patern: not known; did you mean access_pattern?",
        ),
        (f"{_GOAL},{{}}]}}}}]", "schemes[0].quotas.goals[1].metric: is missing"),
        (
            _GOAL.removesuffix("}") + ',"complement":true}]}}]',
            "schemes[0].quotas.goals[0].complement: the complement of a metric",
        ),
        (_IDLE.replace('"min":0', '"min":Infinity'), "sz_bytes.min: not a finite number: inf"),
        (_IDLE.replace('"min":0', '"min":1e999'), "sz_bytes.min: not a finite number: inf"),
        (_IDLE.replace('"0 %"}', '"0 %","max":"9 %"}'), "nr_accesses.max: stands there twice"),
        (_IDLE.replace('"min":"0 %"', '"min":"5 %"'), "nr_accesses: min is above max"),
        (_IDLE.replace('"min":"0 %"', '"min":"5 samples"').replace('"0 %"', '"9 %"'), "units"),
        ('{"kdamonds":[{"contexts":null}]}', "kdamonds[0].contexts: not a list: null"),
        ('{"kdamonds":null}', "kdamonds: not a list: null"),
        ('{"kdamonds":[]}', "there are no schemes in it"),
        ("null", "neither schemes"),
        ("[" * 200_000, "is nested too deep"),
        ('{"a":' * 100, "is nested too deep"),
        ("[" + "{}," * 100_000 + "{}]", "is too large"),
        (" " * 2**20, "is too large"),
        ('[{"action":"pageout"', "is not JSON"),
        (b"\xff\xfe[\x00]\x00", "is not UTF-8"),
        (b'[{"action":"\xe4"}]', "is not UTF-8"),
        ('[{"\\u001b[31m":1}]', "not known"),
    ],
)
def test_what_is_no_file_of_schemes_is_refused_at_once(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    begin = time.process_time()
    with pytest.raises(UsageError) as caught:
        _damo(tmp_path, text)
    assert says in str(caught.value)
    assert str(caught.value).isprintable()
    assert time.process_time() - begin < 2


def test_contexts_that_differ_are_not_thrown_together(tmp_path: Path) -> None:
    one: dict[str, Any] = {"ops": "vaddr", "targets": [{"pid": 1}], "schemes": [{}]}
    same = json.dumps({"contexts": [one, one]})
    assert len(_damo(tmp_path, same)) == 2
    other = json.dumps({"contexts": [one, {**one, "targets": [{"pid": 2}]}]})
    with pytest.raises(UsageError, match=r"contexts\[1\]: has other targets"):
        _damo(tmp_path, other)


def test_ranges_that_would_limit_a_scheme_are_not_ignored(tmp_path: Path) -> None:
    target = {"pid": 1, "regions": [{"start": "4,096", "end": "8,192"}]}
    with pytest.raises(UsageError, match=r"targets\[0\]\.regions"):
        _damo(tmp_path, json.dumps({"ops": "fvaddr", "targets": [target], "schemes": [{}]}))
    rule = {"filter_type": "addr", "matching": True, "address_range": {"start": 0, "end": 4096}}
    with pytest.raises(UsageError, match="addresses are physical"):
        _damo(tmp_path, json.dumps({"ops": "paddr", "schemes": [{"filters": [rule]}]}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[policy]\nname="reclaim"\nmin_age="-5s"', "policy.min_age: not a duration: '-5s'"),
        ('[policy]\nname="reclaim"\nmin_age="' + "1" * 300_000 + 's"', "policy.min_age: too large"),
        ('[monitoring]\ngoal={}\n[[schemes]]\naction="stat"', "monitoring.goal: not known"),
        ('[policy]\nname="reclaim"\nmin_age=1.5', "policy.min_age: not an age: 1.5"),
        ('[policy]\nname="reclaim"\nquota_bytes=-1', "policy.quota_bytes: a size cannot be"),
        (
            '[policy]\nname="reclaim"\nhigh="150%"',
            "policy.high: not a percentage from 0%",
        ),
        ('[policy]\nname="reclaim"\nhigh=1001', "policy.high: a share in thousandths"),
        ('[policy]\nname="reclaim"\nlow="60%"', "policy: mid: must lie between low and high"),
        ('[policy]\nname="reclaim"\nmax_refaults=2', "policy.max_refaults: not a share"),
        ('[policy]\nname="reclam"', "policy.name: names no policy: 'reclam'; did you mean reclaim"),
        ("[policy]\nname=['reclaim']", "policy.name: names no policy"),
        ("policy=3", "policy: not a table of settings: 3"),
        (
            '[policy]\nname="tier"\nused_bp="x"',
            "policy.used_bp: not a percentage from 0%",
        ),
        ("[monitoring]\ncpu_budget_percent=inf\n[[schemes]]", "cpu_budget_percent: not a finite"),
        ("[monitoring]\nmax_regions='x'\n[[schemes]]\naction='stat'", "monitoring.max_regions: "),
        ("[monitoring]\naggr=5\n[[schemes]]\naction='stat'", "monitoring.aggr: not a duration"),
        ("name=3\n[[schemes]]\naction='stat'", "name: not text: 3"),
        ('name="a\\u001b"\n[[schemes]]\naction="stat"', "name: cannot be the name of a file"),
        ("[[schemes]]\naction='stat'\nname=\"\\u0000\"", "schemes[0].name: cannot be"),
        ("[[schemes]]\naction='stat'\nguard=3", "schemes[0].guard: not a table"),
        ("[[schemes]]\naction='stat'\npattern={max_rate='9999999999999999%'}", "pattern.max_rate:"),
        (
            "[[schemes]]\naction='stat'\nquota={goals=[{metric='user_input',target=3,value='x'}]}",
            "schemes[0].quota.goals[0].value: cannot be 'x'",
        ),
        (
            "[[schemes]]\naction='stat'\nquota={goals=[{metric='user_input',target='5%'}]}",
            "schemes[0].quota.goals[0].target: user_input is no share",
        ),
        (
            "[[schemes]]\naction='stat'\nfilters=[{kind='memcg'}]",
            "schemes[0].filters[0].memcg_path: is needed",
        ),
        ("schemes=3", "schemes: not a list: 3"),
        ("[[schemes]]\naction=2020-01-01", "schemes[0].action: not a word"),
        ("x." * 50_000 + "x=1", "a name has more than 32 parts"),
        ("x=" + "[" * 100_000, "is nested too deep"),
        ("x=" + "{a=" * 100_000, "is nested too deep"),
        ("x=" + "1" * 100_000, "is not TOML"),
    ],
)
def test_configurations_are_refused_by_their_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "service.toml"
    path.write_text(text)
    begin = time.process_time()
    with pytest.raises(UsageError) as caught:
        load_config(path, POLICIES, target=TargetSelection(pids=(1,)))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert time.process_time() - begin < 2


def test_dotted_names_in_strings_are_no_nesting(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    dots = "a." * 60
    text = f"# {dots}{'[' * 60}\nname = '{dots}'\n[target]\nuser = \"{'[' * 60}\"\n"
    path.write_text(f"{text}[[schemes]]\naction = 'stat'\n")
    assert load_config(path, POLICIES).name == dots


def test_percentages_may_be_written_wherever_there_are_thousandths(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    for high, mid, low in (("500", "400", "50"), ('"50%"', '"40 %"', '"5.0%"')):
        path.write_text(
            f'[target]\npids=[1]\n[policy]\nname="reclaim"\nhigh={high}\nmid={mid}\nlow={low}\n'
        )
        marks = load_config(path, POLICIES).schemes[0].watermarks
        assert (marks.high_share, marks.mid_share, marks.low_share) == (0.5, 0.4, 0.05)


def test_a_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "schemes.json"
    path.write_text('[{"action":"pageout","access_patern":{}}]')
    assert main(["apply", str(path), "1"]) == 1
    error = capsys.readouterr().err
    assert "schemes[0].access_patern: not known; did you mean access_pattern?" in error
    assert "Traceback" not in error


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["max", "min", "5 %", "3 samples", "1 s", "4K", "0x10", "1e5", "-1", "٣ %"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def _places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Everywhere in plain data."""
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    return [place, *(deep for key, item in inner for deep in _places(item, (*place, key)))]


_ALL = [place for place in _places({"kdamonds": [_WRITTEN]}) if place]


@given(st.lists(st.tuples(st.sampled_from(_ALL), _VALUES), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_written_there_are_schemes_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[str | int, ...], Any]]
) -> None:
    data: Any = json.loads(json.dumps({"kdamonds": [_WRITTEN]}))
    for place, value in changes:
        node = data
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    _read_anyhow(tmp_path_factory, "fuzz.json", json.dumps(data).encode())


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_bytes_are_lost_there_are_schemes_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name, text = data.draw(
        st.sampled_from([("fuzz.json", _IDLE), ("fuzz.toml", _STAT), ("fuzz.toml", _POLICY)])
    )
    mutated = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated)))
        lost = data.draw(st.integers(0, 8))
        mutated[at : at + lost] = data.draw(st.binary(max_size=4))
    _read_anyhow(tmp_path_factory, name, bytes(mutated))


_POLICY = """
[target]
pids = [1]
[monitoring]
aggr = "200ms"
cpu_budget_percent = 2.5
[policy]
name = "reclaim"
min_age = "5min"
quota_bytes = "1G"
high = "50%"
"""


def _read_anyhow(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    said = ""
    try:
        config = load_config(path, POLICIES, target=TargetSelection(pids=(1,)))
        for scheme in config.schemes:
            scheme.pattern.bounds(20, 5 * 10**6, 100 * 10**6)
    except PydamonError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 500

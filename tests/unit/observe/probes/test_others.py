"""Whether another monitor is at work, as the kernel's files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydamon._observe.linux.monitors import other_monitor


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("states", "modules", "expected"),
    [
        ([], {}, ""),
        (["off"], {"damon_reclaim": "N", "damon_stat": "N"}, ""),
        (["on"], {}, "the kernel's DAMON"),
        (["off", "on"], {}, "the kernel's DAMON"),
        ([], {"damon_reclaim": "N", "damon_stat": "Y"}, "DAMON_STAT"),
        ([], {"damon_lru_sort": "Y"}, "DAMON_LRU_SORT"),
    ],
)
def test_who_is_at_work(
    tmp_path: Path, states: list[str], modules: dict[str, str], expected: str
) -> None:
    write(tmp_path / "admin/nr_kdamonds", str(len(states)))
    for number, state in enumerate(states):
        write(tmp_path / f"admin/{number}/state", state)
    for name, enabled in modules.items():
        write(tmp_path / f"module/{name}/parameters/enabled", enabled)
    assert other_monitor(tmp_path / "admin", tmp_path / "module") == expected


def test_a_kernel_without_damon(tmp_path: Path) -> None:
    assert other_monitor(tmp_path / "admin", tmp_path / "module") == ""


def test_an_ordinary_user_sees_the_thread_of_a_kdamond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = tmp_path / "proc/2/task/2/children"
    for pid, name in (("3", "rcu_gp"), ("77", "kdamond.0")):
        write(tmp_path / "proc" / pid / "comm", name)
    read = Path.read_text

    def read_as_a_user(path: Path) -> str:
        if path.name == "nr_kdamonds":
            raise PermissionError
        return read(path)

    monkeypatch.setattr(Path, "read_text", read_as_a_user)
    for pids, expected in (("3 ", ""), ("3 77 ", "the kernel's DAMON"), ("3 ", "")):
        write(threads, pids)
        assert other_monitor(tmp_path / "admin", tmp_path / "module", threads) == expected
    threads.unlink()
    assert other_monitor(tmp_path / "admin", tmp_path / "module", threads) == ""

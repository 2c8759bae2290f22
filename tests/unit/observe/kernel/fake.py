"""DAMON's sysfs tree in a directory, with what a kernel does about each write.

Behaviour and error numbers are those that were seen in Linux 6.12 and 7.3 in the virtual machine.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.passed import MAX_PROBES

OLD, NEW = "6.12", "7.2"

_INTERVALS = "contexts/0/monitoring_attrs/intervals"
_WORDS = {
    "action": {
        OLD: "willneed cold pageout hugepage nohugepage lru_prio lru_deprio migrate_hot "
        "migrate_cold stat",
        NEW: "collapse",
    },
    "type": {OLD: "anon memcg young addr target", NEW: "active hugepage_size unmapped"},
    "target_metric": {
        OLD: "user_input some_mem_psi_us",
        NEW: "node_mem_used_bp node_mem_free_bp node_memcg_used_bp node_memcg_free_bp "
        "active_mem_bp inactive_mem_bp node_eligible_mem_bp",
    },
    "metric": {OLD: "none free_mem_rate", NEW: ""},
    "goal_tuner": {OLD: "", NEW: "consist temporal"},
    "operations": {OLD: "vaddr fvaddr paddr", NEW: ""},
}
_STATES = {
    OLD: "commit commit_schemes_quota_goals update_schemes_stats update_schemes_tried_regions "
    "update_schemes_tried_bytes update_schemes_effective_quotas clear_schemes_tried_regions",
    NEW: "update_tuned_intervals",
}
_FILTER = {
    OLD: {
        "type": "anon",
        "matching": "N",
        "memcg_path": "",
        "addr_start": "0",
        "addr_end": "0",
        "damon_target_idx": "0",
    },
    NEW: {"allow": "N", "min": "0", "max": "0"},
}


class FakeFiles(Files):
    """A kernel of a *release* that has DAMON.

    Its schemes try `regions`, or those of their action in `regions_by_action`. The next `busy`
    reads and writes find its lock taken.
    """

    def __init__(self, root: Path, release: str = OLD) -> None:
        super().__init__(root)
        self.release = release
        self.regions: list[tuple[int, int, int, int]] = []
        self.regions_by_action: dict[str, list[tuple[int, int, int, int]]] = {}
        self.written: list[tuple[str, str]] = []
        self.busy = 0
        self.passed = 4096
        """How many bytes of every region filters of pages let pass."""
        self.on_command: Callable[[str], None] = lambda _: None
        self._started: set[str] = set()
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "nr_kdamonds").exists():
            self._put("nr_kdamonds", "0")

    def _read(self, path: str) -> str:
        self._look_busy(path)
        return super()._read(path)

    def _write(self, path: str, text: str) -> None:
        self._look_busy(path)
        self.written.append((path, text))
        if not (self.root / path).is_file():
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._react(path, text)

    def _look_busy(self, path: str) -> None:
        if self.busy and path.endswith(("state", "pid")):
            self.busy -= 1
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def die(self, kdamond: str = "0") -> None:
        """A kdamond ends by itself, as it does when its targets are gone."""
        self._put(f"{kdamond}/state", "off")
        self._put(f"{kdamond}/pid", "-1")

    def tree(self) -> dict[str, str]:
        """Every file and what it holds."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def _react(self, path: str, text: str) -> None:
        place, _, name = path.rpartition("/")
        if name == "state":
            self._command(place, text)
        elif name.startswith("nr_"):
            if name == "nr_kdamonds" and any(map(self._runs, self._kdamonds())):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            most = {"nr_contexts": 1, "nr_probes": MAX_PROBES}.get(name)
            if most is not None and int(text) > most:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            for old in (self.root / place).iterdir():
                if old.is_dir() and old.name.isdigit():
                    shutil.rmtree(old)
            self._put(path, text)
            for number in range(int(text)):
                self._make(f"{place}/{number}".lstrip("/"), name)
        elif name == "type" and "/probes/" in place and text not in ("anon", "memcg"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        elif name in _WORDS and not (name == "metric" and "watermarks" not in place):
            words = _WORDS[name]
            known = words[OLD] + (f" {words[NEW]}" if self.release == NEW else "")
            if text not in known.split():
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self._put(path, text)
        elif name in ("matching", "allow", "memcg_path", "path", "obsolete_target", "pause"):
            self._put(path, text)
        else:
            int(text)
            self._put(path, text)

    def _kdamonds(self) -> list[str]:
        return [path.parent.name for path in self.root.glob("*/state")]

    def _runs(self, kdamond: str) -> bool:
        return self.read(f"{kdamond}/state") == "on"

    def _command(self, kdamond: str, word: str) -> None:
        if word == "on":
            if self.read(f"{kdamond}/contexts/nr_contexts") != "1" or self._dead_targets(kdamond):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if self._runs(kdamond):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            self._put(f"{kdamond}/state", "on")
            self._put(f"{kdamond}/pid", "1")  # a process that lives on, and hardly takes CPU time
            self._started.add(kdamond)
        elif word == "off":
            if not self._runs(kdamond):
                number = errno.EPERM if kdamond in self._started else errno.EINVAL
                raise OSError(number, os.strerror(number))
            self.die(kdamond)
        else:
            known = _STATES[OLD] + (f" {_STATES[NEW]}" if self.release == NEW else "")
            if word not in known.split() or not self._runs(kdamond):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if word == "commit" and self._dead_targets(kdamond):
                if self.release == NEW:
                    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
                self.die(kdamond)  # without an error, in Linux 6.12
            self.on_command(word)
            if word == "update_schemes_tried_regions":
                # Ten times as fast as a real one, which waits for an aggregation.
                time.sleep(self.number(f"{kdamond}/{_INTERVALS}/aggr_us") / 1e7)
                self._try_regions(kdamond)
            elif word == "clear_schemes_tried_regions":
                for scheme in self.numbered(f"{kdamond}/contexts/0/schemes"):
                    for old in self.numbered(f"{scheme}/tried_regions"):
                        shutil.rmtree(self.root / old)

    def _dead_targets(self, kdamond: str) -> bool:
        targets = self.numbered(f"{kdamond}/contexts/0/targets")
        pids = [int(self.read(f"{path}/pid_target")) for path in targets]
        return any(pid and not Path(f"/proc/{pid}").exists() for pid in pids)

    def _try_regions(self, kdamond: str) -> None:
        for scheme in self.numbered(f"{kdamond}/contexts/0/schemes"):
            action = self.read(f"{scheme}/action")
            regions = self.regions_by_action.get(action, self.regions)
            for number, values in enumerate(regions):
                if self.release == NEW:
                    passed = self.passed if self.numbered(f"{scheme}/ops_filters") else 0
                    self._put(f"{scheme}/tried_regions/{number}/sz_filter_passed", str(passed))
                for name, value in zip(("start", "end", "nr_accesses", "age"), values, strict=True):
                    self._put(f"{scheme}/tried_regions/{number}/{name}", str(value))

    def _put(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def _fill(self, place: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            self._put(f"{place}/{name}", text)

    def _make(self, place: str, kind: str) -> None:
        """The files of a new directory, as a counter's name says which kind that is."""
        new = self.release == NEW
        if kind == "nr_kdamonds":
            self._fill(place, {"state": "off", "pid": "-1", "contexts/nr_contexts": "0"})
            if new:
                self._fill(place, {"refresh_ms": "0"})
        elif kind == "nr_contexts":
            self._context(place, new)
        elif kind == "nr_targets":
            self._fill(place, {"pid_target": "0", "regions/nr_regions": "0"})
            if new:
                self._fill(place, {"obsolete_target": "N"})
        elif kind == "nr_regions":
            self._fill(place, {"start": "0", "end": "0"})
        elif kind == "nr_schemes":
            self._scheme(place, new)
        elif kind == "nr_goals":
            values = {"target_metric": "user_input", "target_value": "0", "current_value": "0"}
            self._fill(place, values | ({"nid": "0", "path": ""} if new else {}))
        elif kind == "nr_probes":
            self._fill(place, {"filters/nr_filters": "0"})
        elif kind == "nr_filters" and "/probes/" in place:
            self._fill(place, {"type": "anon", "matching": "N", "allow": "N", "path": ""})
        elif kind == "nr_filters":
            self._fill(place, _FILTER[OLD] | (_FILTER[NEW] if new else {}))
        elif kind == "nr_dests":
            self._fill(place, {"id": "0", "weight": "0"})

    def _context(self, place: str, new: bool) -> None:
        attrs = f"{place}/monitoring_attrs"
        self._fill(place, {"avail_operations": "vaddr\nfvaddr\npaddr", "operations": "vaddr"})
        self._fill(
            f"{attrs}/intervals",
            {"sample_us": "5000", "aggr_us": "100000", "update_us": "60000000"},
        )
        self._fill(f"{attrs}/nr_regions", {"min": "10", "max": "1000"})
        self._fill(place, {"targets/nr_targets": "0", "schemes/nr_schemes": "0"})
        if new:
            self._fill(place, {"addr_unit": "1", "pause": "N"})
            names = ("access_bp", "aggrs", "min_sample_us", "max_sample_us")
            self._fill(f"{attrs}/intervals/intervals_goal", dict.fromkeys(names, "0"))
            self._fill(f"{attrs}/probes", {"nr_probes": "0"})

    def _scheme(self, place: str, new: bool) -> None:
        self._fill(place, {"action": "stat", "target_nid": "-1", "apply_interval_us": "0"})
        for name in ("sz", "nr_accesses", "age"):
            self._fill(f"{place}/access_pattern/{name}", {"min": "0", "max": "0"})
        self._fill(
            f"{place}/quotas",
            {"ms": "0", "bytes": "0", "reset_interval_ms": "0", "effective_bytes": "0"},
        )
        weights = ("sz_permil", "nr_accesses_permil", "age_permil")
        self._fill(f"{place}/quotas/weights", dict.fromkeys(weights, "0"))
        self._fill(f"{place}/quotas/goals", {"nr_goals": "0"})
        self._fill(
            f"{place}/watermarks",
            {"metric": "none", "interval_us": "0", "high": "0", "mid": "0", "low": "0"},
        )
        stats = ("nr_tried", "sz_tried", "nr_applied", "sz_applied", "qt_exceeds")
        self._fill(f"{place}/stats", dict.fromkeys(stats, "0"))
        self._fill(f"{place}/tried_regions", {"total_bytes": "0"})
        self._fill(f"{place}/filters", {"nr_filters": "0"})
        if new:
            tuner = {"goal_tuner": "consist", "fail_charge_num": "0", "fail_charge_denom": "0"}
            self._fill(f"{place}/quotas", tuner)
            more = ("sz_ops_filter_passed", "nr_snapshots", "max_nr_snapshots")
            self._fill(f"{place}/stats", dict.fromkeys(more, "0"))
            for name in ("core_filters", "ops_filters"):
                self._fill(f"{place}/{name}", {"nr_filters": "0"})
            self._fill(f"{place}/dests", {"nr_dests": "0"})

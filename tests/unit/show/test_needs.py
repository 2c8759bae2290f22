"""How much memory programs need, in terminals and as pictures."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.console import Console, RenderableType

from pydamon import Recording, Target, UsageError, analysis
from pydamon._show.pictures import PICTURES
from pydamon._show.results.needs import NeedsView
from tests.ages import COMB, comb, joined_ages
from tests.recordings import MIB, aged, snapshot

S = 10**9


@pytest.fixture(scope="module")
def needs() -> analysis.Needs:
    return analysis.needs(Recording.from_snapshots(comb(120)))


def lines(shown: RenderableType, width: int = 80, encoding: str = "utf-8") -> list[str]:
    on = Console(file=io.TextIOWrapper(io.BytesIO(), encoding), width=width, _environ={})
    with on.capture() as capture:
        on.print(shown)
    return capture.get().splitlines()


def test_the_headline_the_table_and_the_curve(needs: analysis.Needs) -> None:
    shown = lines(needs)
    assert shown[0] == "comb (pid 7): needs 32 MiB of 256 MiB"
    assert "in use within 8.25 s" in shown[1]
    rows = {" ".join(line.split()[:2]): line.split()[2:] for line in shown if "█" in line}
    assert rows["2 s"][-2:-1] == ["512"]
    assert rows["10 s"][:5] == ["32", "MiB", "12", "%", "0"]
    assert len(shown) <= 23
    assert max(map(len, shown)) <= 80
    curve = shown[-8:-2]
    assert [len(line.rstrip()) for line in curve] == sorted(len(line.rstrip()) for line in curve)
    assert curve[-1].split("│")[1].startswith("?")
    assert "▲" in shown[-2]


def test_a_named_rate(needs: analysis.Needs) -> None:
    shown = lines(NeedsView(needs, 1000))
    assert shown[0] == "comb (pid 7): needs at most 22 MiB of 256 MiB"
    text = " ".join(" ".join(shown).split())
    assert "512 pages a second come back; 1000 a second are tolerated" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_every_width_and_ascii(needs: analysis.Needs, width: int) -> None:
    for encoding in ("ascii", "utf-8"):
        shown = lines(needs, width, encoding)
        assert max(map(len, shown)) <= width
        if width >= 40:  # a narrower terminal cuts numbers
            assert "\n".join(shown).isascii() == (encoding == "ascii")


def test_estimates_say_so() -> None:
    part = analysis.needs(Recording.from_snapshots(comb(followed_share=0.25)))
    text = " ".join(lines(part))
    assert "needs 32 MiB ±13 MiB of 256 MiB" in text
    assert "25 % of the memory was followed" in text
    assert "32 MiB +-13 MiB" in " ".join(lines(part, encoding="ascii"))


def test_nothing_is_enough() -> None:
    busy = analysis.needs(Recording.from_snapshots(comb(7)))
    shown = " ".join(lines(busy))
    assert "needs all of its 256 MiB, as far as this recording tells" in shown
    assert "▲" not in shown


def test_too_short() -> None:
    short = analysis.needs(Recording.from_snapshots(comb(1)))
    shown = " ".join(lines(short))
    assert "how much of 256 MiB it needs is not known" in shown
    assert "record for longer" in shown
    assert "<img" not in short._repr_html_()


def test_several_targets_have_a_line_each() -> None:
    targets = [COMB, Target(8, "other")]
    steps = [
        aged(
            snapshot(targets, [(0, 0, MIB, 0, 0), (1, 0, MIB, 0, 0)], second, window_ns=S),
            joined_ages([(0, 0, MIB, 0), (1, second * S, MIB, 0)]),
        )
        for second in range(20)
    ]
    result = analysis.needs(Recording.from_snapshots(steps))
    shown = lines(result)
    assert shown[0] == "All targets: needs at most 1 MiB of 2 MiB"
    assert any(line.split() == ["1", "MiB", "1", "MiB", "0", "7", "comb"] for line in shown)
    assert any(line.split() == ["0", "B", "1", "MiB", "0", "8", "other"] for line in shown)


@pytest.mark.parametrize("name", ["needs.svg", "needs.png", "needs.html"])
def test_pictures(needs: analysis.Needs, tmp_path: Path, name: str) -> None:
    begins = {".svg": b"<svg", ".png": b"\x89PNG", ".html": b"<!doctype html>"}
    file = tmp_path / name
    needs.save(file)
    assert file.read_bytes().startswith(begins[file.suffix])
    assert {*begins, "axes"} == set(PICTURES["Needs"])
    if file.suffix == ".svg":
        texts = [node.text for node in ElementTree.parse(file).iter() if node.text]
        assert "comb (pid 7): needs 32 MiB of 256 MiB" in texts
        assert {"10 s", "64 MiB", "256 MiB"} <= set(texts)
    elif file.suffix == ".png":
        picture = Image.open(file).convert("RGB")
        colours = {colour for _, colour in picture.getcolors(10**6) or []}
        assert (0xDE, 0x51, 0x3A) in colours
    else:
        assert "default-src 'none'" in file.read_text()


def test_names_cannot_add_elements(tmp_path: Path) -> None:
    evil = analysis.needs(Recording.from_snapshots(comb(20, target=Target(7, "<b>&"))))
    for suffix in ("svg", "html"):
        evil.save(tmp_path / f"needs.{suffix}")
        assert "<b>" not in (tmp_path / f"needs.{suffix}").read_text()
    assert "<b>" not in evil._repr_html_()


def test_another_suffix_and_missing_packages(
    needs: analysis.Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no picture has the suffix"):
        needs.save(tmp_path / "needs.jpg")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match="Pillow"):
        needs.save(tmp_path / "needs.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="Matplotlib"):
        needs.plot()


def test_matplotlib_draws_the_curve(needs: analysis.Needs) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = needs.plot()
    assert axes.get_title() == "comb (pid 7)"
    assert np.size(axes.lines[0].get_xdata()) == len(needs.total.idle_ns)

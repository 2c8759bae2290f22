"""Heat maps as files and in Matplotlib axes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pydamon import RecordingError, UsageError, analysis
from pydamon._show.pictures import PICTURES
from pydamon._show.text import PALETTE
from tests.recordings import MIB, record, snapshot, target

APP = target(
    7,
    "app",
    (16 * MIB, 24 * MIB, "rw-p", "[heap]"),
    (64 * MIB, 72 * MIB, "rw-p", "/usr/lib/<lib>&example.so"),
)


@pytest.fixture
def heatmap(tmp_path: Path) -> analysis.HeatMap:
    """The heap is hot for 2 s; then the library is."""
    regions = [
        [(0, 16 * MIB, 24 * MIB, hot, n), (0, 64 * MIB, 72 * MIB, 20 - hot, n)]
        for n, hot in enumerate([20] * 20 + [0] * 20)
    ]
    recording = record(
        tmp_path / "r.damon", [snapshot((APP,), rows, n) for n, rows in enumerate(regions)]
    )
    return analysis.heatmap(recording, 16, 40, addresses="all")


@pytest.mark.parametrize("name", ["heat.svg", "heat.png", "heat.html", "HEAT.SVG"])
def test_the_suffix_says_which_picture(
    heatmap: analysis.HeatMap, tmp_path: Path, name: str
) -> None:
    begins = {".svg": b"<svg", ".png": b"\x89PNG", ".html": b"<!doctype html>"}
    file = tmp_path / name
    heatmap.save(str(file))
    assert file.read_bytes().startswith(begins[file.suffix.lower()])
    assert {*begins, "axes"} == set(PICTURES["HeatMap"])
    heatmap.save(file)  # over itself, as savefig does
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".damon"] == [name]


def test_a_png_is_hot_where_the_heat_map_is(heatmap: analysis.HeatMap, tmp_path: Path) -> None:
    heatmap.save(tmp_path / "heat.png")
    picture = np.asarray(Image.open(tmp_path / "heat.png").convert("RGB"))
    hot = (picture == PALETTE[-1]).all(axis=2)
    rows, columns = np.nonzero(hot[:200])
    upper = rows < (rows.min() + rows.max()) / 2
    middle = (columns.min() + columns.max()) / 2
    assert (upper == (columns < middle)).all()


def test_names_cannot_add_elements(heatmap: analysis.HeatMap, tmp_path: Path) -> None:
    for suffix in ("svg", "html"):
        heatmap.save(tmp_path / f"heat.{suffix}")
        assert "<lib>" not in (tmp_path / f"heat.{suffix}").read_text()


@pytest.mark.parametrize("name", ["heat.jpg", "heat", "svg"])
def test_another_suffix_is_an_error(heatmap: analysis.HeatMap, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as raised:
        heatmap.save(tmp_path / name)
    assert raised.value.hint == "name one of .html, .png, .svg"
    assert not (tmp_path / name).exists()


def test_a_directory_that_is_not_there_is_an_error(heatmap: analysis.HeatMap) -> None:
    with pytest.raises(RecordingError, match="cannot write"):
        heatmap.save("/no/such/directory/heat.svg")


@pytest.mark.parametrize(
    ("package", "extra"), [("PIL", "pydamon[png]"), ("matplotlib", "pydamon[plot]")]
)
def test_a_missing_package_is_named(
    heatmap: analysis.HeatMap,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    draw = heatmap.plot if package == "matplotlib" else partial(heatmap.save, tmp_path / "heat.png")
    with pytest.raises(UsageError) as raised:
        draw()
    assert f"pip install '{extra}'" in raised.value.hint


def test_matplotlib_draws_the_same(heatmap: analysis.HeatMap) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(layout="constrained")
    assert heatmap.plot(axes) is axes
    assert axes.get_title() == "app (pid 7): 16 MiB of 16 MiB over 4 s"
    (image,) = axes.get_images()
    assert np.asarray(image.get_array()) == pytest.approx(heatmap.rates)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1000000", "4000000"]
    (names,) = axes.child_axes
    assert [label.get_text() for label in names.get_yticklabels()] == [
        "[heap]",
        "/usr/lib/<lib>&example.so",
    ]
    times = [label.get_text() for label in axes.get_xticklabels()]
    assert times[:2] == ["0 s", "1 s"]
    bottom, top = axes.get_ylim()
    assert bottom > top, "addresses grow downwards"
    figure.canvas.draw()
    assert heatmap.plot() is not axes
    pyplot.close("all")

"""What holds for all figures: given figures, texts, files, wrong input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figures import (
    HISTORY,
    ROWS,
    eights,
    make_report,
    tried,
)
from matplotlib.figure import Figure

from gconvae import plots
from gconvae.schema import SUPERPIXELS
from gconvae.schema import points as schema_of

CALLS: dict[str, Callable[[Figure | None], Figure]] = {
    "cloud_grid": lambda f: plots.cloud_grid(eights(3), figure=f),
    "compare_grids": lambda f: plots.compare_grids({"real": eights(3)}, figure=f),
    "grid of much": lambda f: plots.cloud_grid(
        eights(3).repeat(1, 1, 3),
        schema=schema_of("across down along", "charge energy time weight age hits", unit="mm"),
        figure=f,
    ),
    "images_and_clouds": lambda f: plots.images_and_clouds(
        np.zeros((3, 28, 28)), eights(3), figure=f
    ),
    "feature_histograms": lambda f: plots.feature_histograms({"real": eights(3)}, figure=f),
    "loss_curves": lambda f: plots.loss_curves(HISTORY, figure=f),
    "report": lambda f: plots.report(make_report(*ROWS), figure=f),
    "settings": lambda f: plots.settings(tried({"beta": 0.1}, {"beta": 1.0}), "beta", figure=f),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_given_figure_is_drawn_into_and_returned(name: str) -> None:
    figure = Figure(figsize=(9, 7))
    assert CALLS[name](figure) is figure
    assert figure.axes
    assert tuple(figure.get_size_inches()) == (9, 7)


@pytest.mark.parametrize("name", ["feature_histograms", "loss_curves", "report", "settings"])
def test_labels_stay_inside_a_small_figure_that_was_given(name: str) -> None:
    figure = CALLS[name](Figure(figsize=(5, 3)))
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box is not None
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert not any(box.overlaps(other) for other in boxes[:i] if other is not None)


@pytest.mark.parametrize("name", CALLS)
def test_text_stays_inside_the_figure_and_apart(name: str) -> None:
    figure = CALLS[name](None)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    boxes = [
        text.get_window_extent()
        for axes in figure.axes
        for text in [axes.title, axes.xaxis.label, axes.yaxis.label]
        if text.get_text()
    ] + [text.get_window_extent() for text in figure.texts]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_drawing_leaves_style_and_pyplot_alone(tmp_path: Path) -> None:
    script = f"""
import sys
import matplotlib
names = [name for name in matplotlib.rcParams if name != 'backend']  # reading it sets it
before = [matplotlib.rcParams[name] for name in names]
import torch
from gconvae import plots
figure = plots.feature_histograms({{"real": torch.rand(5, 25, 3)}})
plots.save(figure, {str(tmp_path / "figure.svg")!r})
assert [matplotlib.rcParams[name] for name in names] == before
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89")],
)
def test_saved_files_have_the_format_of_their_suffix_and_are_reproducible(
    tmp_path: Path, suffix: str, start: bytes
) -> None:
    for name in ("first", "second"):
        plots.save(plots.cloud_grid(eights(4)), tmp_path / f"{name}.{suffix}")
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("first", "second"))
    assert first.startswith(start)
    assert first == second
    assert b"CreationDate" not in first  # two files of one second could hold the same
    assert len(list(tmp_path.iterdir())) == 2


def test_png_of_a_full_grid_is_at_most_400_kilobytes(tmp_path: Path) -> None:
    plots.save(plots.cloud_grid(eights(100)), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size < 400_000


def test_failed_save_keeps_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.png"
    path.write_text("earlier")

    def full_disk(_: Figure, partial: Path, **__: object) -> None:
        partial.write_text("half a fig")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        plots.save(Figure(), path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["earlier"]


def test_a_figure_can_be_saved_below_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    plots.save(Figure(), "~/figure.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("name", ["figure", "figure.txt", "figure.gif"])
def test_unknown_suffix_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="path must end in png, pdf, svg, got .*figure"):
        plots.save(Figure(), tmp_path / name)


def test_saving_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        plots.save(Figure(), tmp_path / "missing" / "figure.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.cloud_grid(eights(2)[0]), "points must have shape"),
        (
            lambda: plots.cloud_grid(eights(2)[..., :2], schema=SUPERPIXELS),
            "points must have 3 features",
        ),
        (lambda: plots.cloud_grid(eights(2) * np.nan), "points must be finite"),
        (lambda: plots.cloud_grid(eights(2), torch.ones(2, 3).bool()), "mask must have shape"),
        (lambda: plots.cloud_grid(eights(2), rows=0), "rows must be at least 1, got 0"),
        (lambda: plots.cloud_grid(eights(2), columns=0), "columns must be at least 1, got 0"),
        (lambda: plots.cloud_grid(eights(2), limits=((1, 0), (0, 1))), "limits must be"),
        (lambda: plots.cloud_grid(eights(2), limits=(0, 1)), "limits must be"),
        (lambda: plots.cloud_grid(eights(2), raster=True), "raster must be False"),
        (
            lambda: plots.feature_histograms({"r": eights(2)}, features=["q"]),
            "feature must be one",
        ),
        (lambda: plots.compare_grids({}), "samples must map at least one name"),
        (lambda: plots.compare_grids(eights(2)), "samples must map"),
        (lambda: plots.compare_grids({"real": eights(2), "new": eights(2)[0]}), "new must have"),
        (lambda: plots.feature_histograms({"real": eights(2)[:0]}), "real must hold at least"),
        (lambda: plots.feature_histograms({"real": eights(2)}, bins=0), "bins must be at least"),
        (lambda: plots.images_and_clouds(np.zeros((3, 28, 28)), eights(2)), "images must have"),
        (lambda: plots.images_and_clouds(np.zeros((2, 28)), eights(2)), "images must have shape"),
        (lambda: plots.images_and_clouds(np.full((2, 9, 9), 2.0), eights(2)), "images must be"),
        (lambda: plots.images_and_clouds(np.full((2, 9, 9), np.nan), eights(2)), "images must be"),
        (lambda: plots.loss_curves({}), "history must have an epoch and one of train_loss"),
        (lambda: plots.loss_curves({"loss": [1.0]}), "history must .* got loss"),
        (lambda: plots.loss_curves({"train_loss": []}), "history must have an epoch"),
        (
            lambda: plots.loss_curves({"epoch": [1], "train_loss": [1.0, 2.0]}),
            "history must have columns of one length",
        ),
        (
            lambda: plots.report(make_report(ROWS[2])),
            "report must have a row whose floor has a width",
        ),
    ],
)
def test_wrong_input_is_an_error_that_names_it(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_figure_is_a_picture_for_a_notebook(call: Callable[[Figure | None], Figure]) -> None:
    picture: Any = call(None)
    assert picture._repr_png_().startswith(b"\x89PNG")


def test_a_figure_of_the_caller_s_is_left_to_the_caller() -> None:
    figure = Figure()
    assert plots.cloud_grid(eights(3), figure=figure) is figure
    assert not hasattr(figure, "_repr_png_")

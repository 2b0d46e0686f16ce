"""Tests of the figures of jets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gconvae import plots
from gconvae.clouds import Clouds
from gconvae.datasets import Jets
from gconvae.metrics import jets
from gconvae.plots.jets import QUANTITIES


def samples() -> dict[str, Clouds]:
    real, other = Jets("g", "test")[:300].clouds, Jets("q", "test")[:200].clouds
    return {"gluons": real, "quarks": other}


def test_spectra_are_shares_of_jets_and_ratios_to_the_first() -> None:
    figure = plots.jet_spectra(samples(), bins=10)
    assert len(figure.axes) == 2 * len(QUANTITIES)
    spectrum, ratio = figure.axes[0], figure.axes[4]
    assert spectrum.get_title() == "jet mass / jet pT"
    filled, line = (patch.get_data() for patch in spectrum.patches)
    masses = [jets.mass(sample) for sample in samples().values()]
    for data, values in zip((filled, line), masses, strict=True):
        kept = np.clip(values, data.edges[0], data.edges[-1])
        wanted = np.histogram(kept, data.edges)[0] / len(values)
        np.testing.assert_allclose(np.nan_to_num(data.values), wanted)
    drawn = ratio.containers[0].lines[0].get_ydata()
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.nan_to_num(line.values) / np.where(filled.values > 0, filled.values, np.nan)
    np.testing.assert_allclose(drawn, wanted)


def test_the_band_is_poissons() -> None:
    figure = plots.jet_spectra({"gluons": samples()["gluons"]}, bins=10)
    filled = figure.axes[0].patches[0].get_data()
    band = figure.axes[4].patches[0].get_data()
    counts = filled.values * 300
    seen = counts > 0
    np.testing.assert_allclose((band.values - 1)[seen], 1 / np.sqrt(counts[seen]), rtol=1e-6)


def test_an_image_is_the_mean_pt_of_its_cells() -> None:
    point = torch.tensor([[[0.1, -0.3, 0.5], [0.1, -0.3, 0.25]], [[0.1, -0.3, 0.25], [0, 0, 0]]])
    mask = torch.tensor([[True, True], [True, False]])
    figure = plots.jet_images({"two": (point, mask)}, width=0.8, cells=4)
    (mesh,) = figure.axes[0].collections
    image = np.asarray(mesh.get_array()).reshape(4, 4)  # rows are phi
    assert image[1, 2] == pytest.approx(0.5)  # of 0.75 and 0.25
    assert (np.delete(image.flatten(), 6) < 1e-5).all()


def test_samples_share_their_colours() -> None:
    figure = plots.jet_images(samples())
    limits = {mesh.get_clim() for axes in figure.axes[:2] for mesh in axes.collections}
    assert len(limits) == 1


@pytest.mark.parametrize("draw", [plots.jet_spectra, plots.jet_images])
def test_bad_input_is_one_clear_error(draw: object) -> None:
    with pytest.raises(ValueError, match="samples must map"):
        draw({})  # type: ignore[operator]  # a function of plots
    with pytest.raises(ValueError, match="samples must be jets.*got x, y"):
        draw({"flat": torch.rand(3, 4, 2)})  # type: ignore[operator]  # likewise


def test_bare_arrays_are_taken_for_jets() -> None:
    real = samples()["gluons"]
    bare = plots.jet_spectra({"bare": (real.points, real.mask)}, bins=10)
    known = plots.jet_spectra({"bare": real}, bins=10)
    for one, other in zip(bare.axes, known.axes, strict=True):
        for first, second in zip(one.patches, other.patches, strict=True):
            np.testing.assert_array_equal(first.get_data().values, second.get_data().values)


def test_angles_a_turn_apart_are_in_one_cell() -> None:
    real = samples()["gluons"]
    turned = real.points.clone()
    turned[..., 1] = turned[..., 1].remainder(2 * np.pi)
    figure = plots.jet_images({"one": real, "other": (turned, real.mask)}, cells=4)
    one, other = (np.asarray(axes.collections[0].get_array()) for axes in figure.axes[:2])
    np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("width", [0, -1, np.nan, np.inf, 1e-9])
def test_widths_that_show_nothing_are_refused(width: float) -> None:
    points = torch.tensor([[[0.1, -0.3, 0.5]]])
    with pytest.raises(ValueError, match="width must"):
        plots.jet_images({"one": points}, width=width)

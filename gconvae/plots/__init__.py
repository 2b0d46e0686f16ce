"""Figures of clouds, features, trainings and comparisons: arrays in, matplotlib figures out.

Every function returns the :class:`matplotlib.figure.Figure` and draws into ``figure`` if one is
given. None shows a window, and none touches the global style or backend.
"""

from __future__ import annotations

from gconvae.plots.clouds import cloud_grid, compare_grids, images_and_clouds
from gconvae.plots.comparison import report
from gconvae.plots.features import feature_histograms
from gconvae.plots.jets import jet_images, jet_spectra
from gconvae.plots.studies import leaderboard, settings
from gconvae.plots.style import check_path, save
from gconvae.plots.training import loss_curves

__all__ = [
    "check_path",
    "cloud_grid",
    "compare_grids",
    "feature_histograms",
    "images_and_clouds",
    "jet_images",
    "jet_spectra",
    "leaderboard",
    "loss_curves",
    "report",
    "save",
    "settings",
]

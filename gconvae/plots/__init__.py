"""Figures of clouds, features, trainings and comparisons: arrays in, matplotlib figures out."""

from __future__ import annotations

from gconvae.plots.clouds import (
    check_path,
    cloud_grid,
    compare_grids,
    feature_histograms,
    images_and_clouds,
    intensity_histogram,
    loss_curves,
    report,
    save,
    settings,
    variants,
)

__all__ = [
    "check_path",
    "cloud_grid",
    "compare_grids",
    "feature_histograms",
    "images_and_clouds",
    "intensity_histogram",
    "loss_curves",
    "report",
    "save",
    "settings",
    "variants",
]

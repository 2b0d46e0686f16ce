"""Experiments described by options: one training, sweeps, leaderboards, reproduction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.studies.comparisons import MAIN, Comparison, Variant
    from gconvae.studies.experiment import Experiment, Splits, train_and_test
    from gconvae.studies.leaderboard import compare, folder_of, judge
    from gconvae.studies.reproduction import Difference, Reproduction, reproduce
    from gconvae.studies.search_space import Plan, Range, read_option, row_name
    from gconvae.studies.sweep import Setting, Sweep

__all__ = [
    "Comparison",
    "Difference",
    "Experiment",
    "MAIN",
    "Plan",
    "Range",
    "Reproduction",
    "Setting",
    "Splits",
    "Sweep",
    "Variant",
    "compare",
    "folder_of",
    "judge",
    "read_option",
    "reproduce",
    "row_name",
    "train_and_test",
]

_HOMES = {
    "Experiment": "experiment",
    "Splits": "experiment",
    "train_and_test": "experiment",
    "Plan": "search_space",
    "Range": "search_space",
    "read_option": "search_space",
    "row_name": "search_space",
    "compare": "leaderboard",
    "folder_of": "leaderboard",
    "judge": "leaderboard",
    "Comparison": "comparisons",
    "MAIN": "comparisons",
    "Variant": "comparisons",
    "Difference": "reproduction",
    "Reproduction": "reproduction",
    "reproduce": "reproduction",
    "Setting": "sweep",
    "Sweep": "sweep",
}
__getattr__, __dir__ = attach(__name__, _HOMES)

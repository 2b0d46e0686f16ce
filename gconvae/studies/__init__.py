"""Experiments described by options: one training, sweeps, leaderboards, reproduction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.studies.experiment import Experiment, Splits, train_and_test
    from gconvae.studies.judging import judge
    from gconvae.studies.leaderboard import MAIN, Leaderboard, Variant
    from gconvae.studies.ranking import folder_of, rank
    from gconvae.studies.reproduction import Difference, Reproduction, reproduce
    from gconvae.studies.search_space import Plan, Range, read_option, row_name
    from gconvae.studies.settings import Setting, Sweep

__all__ = [
    "Difference",
    "Experiment",
    "Leaderboard",
    "MAIN",
    "Plan",
    "Range",
    "Reproduction",
    "Setting",
    "Splits",
    "Sweep",
    "Variant",
    "folder_of",
    "judge",
    "rank",
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
    "folder_of": "ranking",
    "judge": "judging",
    "rank": "ranking",
    "Leaderboard": "leaderboard",
    "MAIN": "leaderboard",
    "Variant": "leaderboard",
    "Difference": "reproduction",
    "Reproduction": "reproduction",
    "reproduce": "reproduction",
    "Setting": "settings",
    "Sweep": "settings",
}
__getattr__, __dir__ = attach(__name__, _HOMES)

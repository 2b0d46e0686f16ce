"""What a finished training should make its user doubt, and what to try."""

from __future__ import annotations

import warnings

import torch

from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.options import TrainingOptions
from gconvae.training.preparation import in_memory
from gconvae.training.run import Run

__all__ = ["narrow_features", "warn_of_doubts"]

ENOUGH_EPOCHS = 20
"""Epochs from which a training is meant to come to its end; fewer are a trial."""

NARROW = 0.7
"""Share of the real spread below which samples are clearly too narrow."""

NUM_SAMPLES = 200
"""Clouds whose spread is looked at."""


def warn_of_doubts(run: Run, valid: CloudDataset | CloudFile, options: TrainingOptions) -> None:
    """Says that a training was stopped too early, or that its samples are too narrow.

    Args:
        run: Finished.
        valid: The clouds that chose its best epoch.
        options: Those of the training.
    Warns:
        UserWarning: With what to try.
    """
    if options.epochs < ENOUGH_EPOCHS:
        return
    # a rate that falls makes the last epoch the best one
    if run.manifest["best_epoch"] == options.epochs and options.scheduler is None:
        warnings.warn(
            f"the best epoch is the last one, {options.epochs}: more epochs would make the model "
            f"better, try epochs={2 * options.epochs}",
            stacklevel=3,
        )
    narrow = narrow_features(run, valid)
    if narrow:
        said = ", ".join(f"{name} has {100 * share:.0f} %" for name, share in narrow.items())
        warnings.warn(
            f"samples are too narrow: of the real spread, {said}; try the recipe convae-flow, "
            "another likelihood than the mean, a smaller beta, or more epochs",
            stacklevel=3,
        )


def narrow_features(run: Run, valid: CloudDataset | CloudFile) -> dict[str, float]:
    """Features whose samples have less than 70 % of the real standard deviation, and their share.

    Args:
        run: Finished.
        valid: Real clouds.
    """
    samples = run.model.sample_clouds(NUM_SAMPLES, seed=run.manifest["options"]["seed"])
    clouds = in_memory(valid, 0).clouds
    spreads = [part.points[part.mask].double().std(0) for part in (samples, clouds)]  # (F,) each
    shares = torch.nan_to_num(spreads[0] / spreads[1], nan=1.0, posinf=1.0)
    names = valid.schema.names
    return {n: s for n, s in zip(names, shares.tolist(), strict=True) if s < NARROW}

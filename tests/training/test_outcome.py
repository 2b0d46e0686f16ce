from __future__ import annotations

import warnings

import pytest
import torch

import gconvae
from gconvae.training.outcome import narrow_features


def trained(epochs: int, **options: object) -> gconvae.Run:
    points = torch.rand(60, 8, 3, generator=torch.Generator().manual_seed(0))
    model = gconvae.models.create("convae", num_points=8, hidden=16, channels=(2, 3), latent_dim=2)
    return gconvae.fit(model, points, epochs=epochs, progress=False, **options)  # type: ignore[arg-type]


def test_a_training_that_was_still_getting_better_says_so() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="samples are too narrow")
        with pytest.warns(UserWarning, match=r"the best epoch is the last one, 20.*epochs=40"):
            trained(20, learning_rate=1e-5)


def test_samples_that_are_too_narrow_are_named_with_what_to_try() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the best epoch is the last one")
        with pytest.warns(UserWarning, match=r"samples are too narrow.*x has \d+ %.*convae-flow"):
            run = trained(20, learning_rate=1e-5)
    assert set(narrow_features(run, gconvae.datasets.from_points(torch.rand(60, 8, 3)))) == {
        "x",
        "y",
        "feature 3",
    }


def test_a_trial_of_a_few_epochs_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trained(2, learning_rate=1e-5)

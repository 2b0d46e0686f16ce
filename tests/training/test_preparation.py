"""What a training looks at before its first step."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import gconvae
from gconvae import models
from gconvae.datasets import CloudDataset, from_points
from gconvae.schema import SUPERPIXELS, points
from gconvae.training import fit as fitting
from gconvae.training.preparation import identity


def clouds(names: str, further: str = "") -> CloudDataset:
    schema = points(names, further)
    random = torch.Generator().manual_seed(0)
    return from_points(torch.rand(12, 15, schema.num_features, generator=random), schema=schema)


def small(data: CloudDataset) -> gconvae.VAE:
    return models.create("deep_sets", num_points=15, schema=data.schema, node_hidden=[8])


def test_a_loss_is_told_the_positions_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    created = fitting.losses.create

    def create(text: str, **options: object) -> nn.Module:
        loss = created(text, **options)
        seen.append(loss.num_positions)
        return loss

    monkeypatch.setattr(fitting.losses, "create", create)
    data = clouds("x y z", "charge")
    gconvae.fit(small(data), data, loss="matched_intensity", epochs=1, seed=0)
    assert set(seen) == {3}


@pytest.mark.parametrize("names", ["x y", "x y z"])
def test_matched_intensity_of_positions_alone_is_refused_before_training(names: str) -> None:
    data = clouds(names)
    with pytest.raises(ValueError, match=r"must fit clouds and model, matched.*third_axis"):
        gconvae.fit(small(data), data, loss="matched_intensity", epochs=1, seed=0)
    run = gconvae.fit(small(data), data, loss="chamfer", epochs=1, seed=0)
    assert len(run.history["epoch"]) == 1


def test_how_clouds_are_drawn_is_no_part_of_their_identity() -> None:
    nodes = torch.rand(4, 5, 3)
    dark = SUPERPIXELS.replace(picture=dataclasses.replace(SUPERPIXELS.picture, dark=True))
    one, other = (from_points(nodes, schema=schema) for schema in (SUPERPIXELS, dark))
    assert identity(one) == identity(other)
    assert identity(one) != identity(from_points(nodes + 1, schema=SUPERPIXELS))

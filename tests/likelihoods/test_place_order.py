"""The order of nodes on places, against Python's own sort."""

from __future__ import annotations

import pytest
import torch

from gconvae.likelihoods.place_order import order_of_places


@pytest.mark.parametrize("descends", [(False, False, False), (True, False, True)])
def test_nodes_are_in_the_order_of_their_features(descends: tuple[bool, ...]) -> None:
    steps = (2, 4, 3)  # few, so that nodes tie, and lie on the last places
    random = torch.Generator().manual_seed(0)
    columns = [torch.randint(0, last + 1, (200, 9), generator=random) for last in steps]
    place = torch.stack(columns, dim=2)
    mask = torch.rand(200, 9, generator=random) < 0.8
    order = order_of_places(place, mask, steps, descends)

    for cloud, real, found in zip(place.tolist(), mask.tolist(), order.tolist(), strict=True):

        def key(node: int, cloud: list[list[int]] = cloud, real: list[bool] = real) -> list[int]:
            signs = [-1 if falls else 1 for falls in descends]
            values = [sign * value for sign, value in zip(signs, cloud[node], strict=True)]
            return [not real[node], *(values if real[node] else [])]

        assert found == sorted(range(9), key=key)


def test_the_last_place_of_a_feature_is_before_the_first_of_the_next_one() -> None:
    place = torch.tensor([[[1, 0], [0, 9]], [[0, 9], [1, 0]]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    order = order_of_places(place, mask, (9, 9), (False, False))
    assert order.tolist() == [[1, 0], [0, 1]]

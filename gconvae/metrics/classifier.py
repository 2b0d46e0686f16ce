"""The reference classifier of clouds: a network with frozen weights whose features metrics use."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gconvae.caller_state import neutral
from gconvae.clouds import Clouds, as_clouds
from gconvae.metrics.attention import AttentionBlock, mean_and_highest
from gconvae.metrics.bundled_weights import DATA, read_card, read_weights
from gconvae.randomness import initial_weights
from gconvae.schema import SUPERPIXELS, CloudSchema

__all__ = ["NUM_FEATURES", "ReferenceClassifier", "card", "features", "knows", "load"]

NUM_FEATURES = 32
"""D: a Frechet distance has a floor that grows as D squared, and ten digits need no more."""

WIDTH, DEPTH, HEADS = 64, 3, 4
"""Width, number and attention heads of the blocks."""

CENTRE = (14.0, 14.0, 0.7)
"""Middle of (x px, y px, intensity), also the unit in which the network sees them."""

FREQUENCIES = (0.5 * math.pi, math.pi, 2.0 * math.pi, 4.0 * math.pi)
"""Radians a unit; the shortest wave is 7 px long, a few nodes."""

CHUNK = 1000
"""Clouds that go through the network at a time, so that memory does not grow with the sample."""

_FOLDER = DATA


class ReferenceClassifier(nn.Module):
    r"""Which of the ten digits a cloud is, whatever the order of its nodes.

    A node p becomes a vector of its own value and of waves of it; blocks of attention compare
    every node with every other; mean and maximum over nodes make one vector h of them:

    .. math::
        \phi = \frac{g(W h + b) - \mu}{\sigma}, \quad \mathrm{logits} = V \phi + c,

    g the Gaussian error linear unit. The mean and standard deviation of each feature over the
    training clouds are 0 and 1, so that no feature outweighs the others in a distance.

    Made with random weights; :func:`load` gives the trained one.

    References:
        | Set Transformer (Lee et al., 2019), arXiv:1810.00825
        | On Layer Normalization in the Transformer Architecture (Xiong et al., 2020),
          arXiv:2002.04745
    Example:
        >>> ReferenceClassifier()(torch.rand(2, 25, 3)).shape
        torch.Size([2, 10])
    """

    frequencies: Tensor
    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(CENTRE), persistent=False)
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        num_values = SUPERPIXELS.num_features * (1 + 2 * len(FREQUENCIES))
        self.embed = nn.Sequential(
            nn.Linear(num_values, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)
        )
        self.blocks = nn.ModuleList(AttentionBlock(WIDTH, HEADS) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.reduce = nn.Sequential(nn.Linear(2 * WIDTH, NUM_FEATURES), nn.GELU())
        self.standardize = nn.BatchNorm1d(NUM_FEATURES, affine=False)
        self.classify = nn.Linear(NUM_FEATURES, 10)

    def features(self, points: Any, mask: Any = None) -> Tensor:
        """The vector from which the digit is read, differentiable.

        Args:
            points: Clouds (x px, y px, intensity in [0, 1]) of a 28 x 28 image, any order and
                number of nodes, shape (B, N, 3).
            mask: True where a node is real, shape (B, N); None = all.
        Returns:
            Shape (B, D), float32 unless the network was moved to another dtype; no unit.
        Raises:
            ValueError: If the clouds are not valid, see :func:`gconvae.clouds.as_clouds`.
        """
        clouds = self._prepare(points, mask)
        # however far off a node is, its features stay finite
        scaled = (clouds.points / self.centre - 1.0).clamp(-100.0, 100.0)  # (B, N, 3)
        waves = (scaled.unsqueeze(-1) * self.frequencies).flatten(2)  # (B, N, 3 * waves)
        nodes = self.embed(torch.cat([scaled, waves.sin(), waves.cos()], dim=-1))  # (B, N, W)
        for block in self.blocks:
            nodes = block(nodes, clouds.mask)
        nodes = self.norm(nodes)
        pooled = torch.cat(mean_and_highest(nodes, clouds.mask), dim=1)  # (B, 2 W)
        return self.standardize(self.reduce(pooled))  # (B, D)

    def forward(self, points: Any, mask: Any = None) -> Tensor:
        """Logits of the digits 0 to 9.

        Args:
            points: As in :meth:`features`.
            mask: Likewise.
        Returns:
            Shape (B, 10).
        """
        return self.classify(self.features(points, mask))

    def _prepare(self, points: Any, mask: Any) -> Clouds:
        """Checked clouds on the device and in the dtype of the network."""
        clouds = as_clouds(points, mask, num_features=SUPERPIXELS.num_features)
        return Clouds(clouds.points.to(self.centre), clouds.mask.to(self.centre.device))


def load(device: str | torch.device = "cpu") -> ReferenceClassifier:
    """The trained classifier, ready to judge; never runs code from a file.

    Args:
        device: Where to put it.
    Raises:
        ValueError: If the weights in the package are not those of :func:`card`.
    Example:
        >>> points = torch.rand(2, 25, 3)
        >>> load().features(points).shape
        torch.Size([2, 32])
    """
    weights = read_weights(_FOLDER, "reference")
    with initial_weights(0):  # they are replaced, but the caller's generator is left alone
        model = ReferenceClassifier()
    model.load_state_dict(weights)
    return model.requires_grad_(False).to(device).eval()


def knows(schema: CloudSchema, nodes: Tensor) -> bool:
    """Whether the classifier was trained on clouds of this kind.

    Args:
        schema: What the features are.
        nodes: Real nodes of real clouds, shape (P, F).
    Returns:
        True for superpixels of 28 x 28 images with no node outside of the image.
    """
    ranges = [(feature.low, feature.high) for feature in schema.features]
    known = [(feature.low, feature.high) for feature in SUPERPIXELS.features]
    if not schema.same_nodes(SUPERPIXELS) or ranges != known:
        return False
    last = float(SUPERPIXELS.extent)
    highest = nodes.new_tensor([last + 0.5, last + 0.5, 1.0])
    lowest = nodes.new_tensor([-0.5, -0.5, 0.0])
    return not bool(((nodes < lowest) | (nodes > highest)).any())


def card() -> dict[str, Any]:
    """What the trained classifier is: data, accuracy, seed, versions, checksum of the weights.

    Example:
        >>> card()["accuracy"]["test"] >= 0.98
        True
    """
    return read_card(_FOLDER, "reference")


def features(points: Any, mask: Any = None) -> Tensor:
    """Features of many clouds by the trained classifier, in pieces, without gradients.

    Args:
        points: Clouds (x px, y px, intensity in [0, 1]) of a 28 x 28 image, shape (B, N, 3).
        mask: True where a node is real, shape (B, N); None = all.
    Returns:
        Shape (B, D), float32, on the device of ``points``; on MNIST's training clouds each
        feature has mean 0 and standard deviation 1.
    Raises:
        ValueError: If the clouds are not valid, see :func:`gconvae.clouds.as_clouds`.
    Example:
        >>> features(torch.rand(2, 25, 3)).shape
        torch.Size([2, 32])
    """
    points, mask, _ = as_clouds(points, mask, num_features=SUPERPIXELS.num_features)
    model = load(points.device)
    pieces = zip(points.split(CHUNK), mask.split(CHUNK), strict=True)
    with neutral(), torch.no_grad():
        return torch.cat([model.features(*piece) for piece in pieces])

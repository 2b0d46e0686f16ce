"""The jet classifier: a network with frozen weights whose features metrics of jets use."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from gconvae.caller_state import neutral
from gconvae.clouds import as_clouds, as_sample
from gconvae.metrics.attention import AttentionBlock, mean_and_highest
from gconvae.metrics.bundled_weights import DATA, read_card, read_weights
from gconvae.metrics.jets.particles import are_jets
from gconvae.randomness import initial_weights
from gconvae.schema import JETS, CloudSchema

__all__ = [
    "KINDS",
    "NUM_FEATURES",
    "NUM_PARTICLES",
    "JetClassifier",
    "card",
    "features",
    "knows",
    "load",
]

KINDS = ("g", "q", "t")
"""Gluon, light-quark and top jets, in the order of the logits."""

NUM_FEATURES = 16
"""D: a Frechet distance needs 4 D jets, and its floor grows as D squared."""

NUM_PARTICLES = 30
"""The hardest particles of a jet are looked at, and no others."""

WIDTH, DEPTH, HEADS = 64, 3, 4
"""Width, number and attention heads of the blocks."""

PAIR_WIDTH = 16
"""Width of the network of a pair of particles."""

SPREAD = 0.4
"""Radians: the unit of angles, half of a jet's radius."""

CHUNK = 1000
"""Jets that go through the network at a time, so that memory does not grow with the sample."""

_FOLDER = DATA
_NAME = "jet_reference"

# so that no logarithm is of 0: softer and closer particles than any of a detector
_SOFTEST, _CLOSEST = 1e-6, 1e-3

# about the mean and the standard deviation of the four logarithms of pairs in real jets
_PAIR_MEAN = (-2.6, -7.1, -1.4, -13.1)
_PAIR_SPREAD = (1.3, 1.3, 0.7, 2.5)
# likewise of the logarithm of a particle's pt_rel
_LOG_MEAN, _LOG_SPREAD = -4.0, 0.9


class JetClassifier(nn.Module):
    r"""Whether a jet comes from a gluon, a light quark or a top, whatever the particles' order.

    A particle becomes a vector of its angles, its share of the momentum and the logarithm of it;
    blocks of attention compare every particle with every other, with a bias that knows the angle
    and the momenta of the pair:

    .. math::
        \left(\log\Delta, \; \log(\min(p_{T,i}, p_{T,j}) \Delta), \;
        \log\frac{\min(p_{T,i}, p_{T,j})}{p_{T,i} + p_{T,j}}, \; \log(p_{T,i} p_{T,j} \Delta^2)
        \right), \qquad \Delta^2 = \Delta\eta^2 + \Delta\phi^2.

    Mean and maximum over particles make one vector of them, which a dense layer and a
    standardization turn into the features; the logits are linear in these.

    Made with random weights; :func:`load` gives the trained one.

    References:
        | Particle Transformer for Jet Tagging (Qu, Li and Qian, 2022), arXiv:2202.03772
    Example:
        >>> JetClassifier()(torch.rand(2, 30, 3)).shape
        torch.Size([2, 3])
    """

    pair_mean: Tensor
    pair_spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pair_mean", torch.tensor(_PAIR_MEAN), persistent=False)
        self.register_buffer("pair_spread", torch.tensor(_PAIR_SPREAD), persistent=False)
        self.embed = nn.Sequential(nn.Linear(5, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.pairs = nn.Sequential(
            nn.Linear(4, PAIR_WIDTH), nn.GELU(), nn.Linear(PAIR_WIDTH, DEPTH * HEADS)
        )
        self.blocks = nn.ModuleList(AttentionBlock(WIDTH, HEADS) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.reduce = nn.Sequential(nn.Linear(2 * WIDTH, NUM_FEATURES), nn.GELU())
        self.standardize = nn.BatchNorm1d(NUM_FEATURES, affine=False)
        self.classify = nn.Linear(NUM_FEATURES, len(KINDS))

    def features(self, points: Any, mask: Any = None) -> Tensor:
        """The vector from which the kind is read, differentiable.

        Args:
            points: Jets (eta_rel, phi_rel, pt_rel), any order and number of particles, shape
                (B, N, 3).
            mask: True where a particle is real, shape (B, N); None = all.
        Returns:
            Shape (B, D), float32 unless the network was moved to another dtype; no unit.
        Raises:
            ValueError: If the jets are not valid, see :func:`gconvae.clouds.as_clouds`.
        """
        points, mask = self._hardest(points, mask)
        eta, phi, pt = points.unbind(-1)  # (B, N)
        momentum = pt.clamp(min=_SOFTEST).log()
        # however far off a particle is, the features stay finite
        far = torch.hypot(eta, phi).div(SPREAD).clamp(max=100.0)
        angles = (points[..., :2] / SPREAD).clamp(-100.0, 100.0).unbind(-1)
        columns = [*angles, far, pt.clamp(-100.0, 100.0), (momentum - _LOG_MEAN) / _LOG_SPREAD]
        nodes = self.embed(torch.stack(columns, dim=-1))  # (B, N, W)
        biases = self.pairs(self._pairs(eta, phi, pt)).permute(3, 0, 1, 2)
        for block, bias in zip(self.blocks, biases.split(HEADS), strict=True):
            nodes = block(nodes, mask, bias.transpose(0, 1))  # (B, H, N, N)
        pooled = torch.cat(mean_and_highest(self.norm(nodes), mask), dim=1)  # (B, 2 W)
        return self.standardize(self.reduce(pooled))  # (B, D)

    def forward(self, points: Any, mask: Any = None) -> Tensor:
        """Logits of ``KINDS``.

        Args:
            points: As in :meth:`features`.
            mask: Likewise.
        Returns:
            Shape (B, 3).
        """
        return self.classify(self.features(points, mask))

    def _hardest(self, points: Any, mask: Any) -> tuple[Tensor, Tensor]:
        """Checked jets of at most ``NUM_PARTICLES``, on the network's device, in its dtype."""
        points, mask, _ = as_clouds(points, mask, num_features=JETS.num_features)
        points, mask = points.to(self.pair_mean), mask.to(self.pair_mean.device)
        if points.shape[1] > NUM_PARTICLES:
            pt = points[..., 2].masked_fill(~mask, -math.inf)
            chosen = torch.argsort(pt, dim=1, descending=True, stable=True)[:, :NUM_PARTICLES]
            points = points.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))
            mask = mask.gather(1, chosen)
        turn = 2 * math.pi
        eta, phi, pt = points.unbind(-1)
        phi = phi - turn * torch.ceil(phi / turn - 0.5)  # (-pi, pi], where no seam is near
        return torch.stack([eta, phi, pt], dim=-1), mask

    def _pairs(self, eta: Tensor, phi: Tensor, pt: Tensor) -> Tensor:
        """What two particles are to each other, standardized, shape (B, N, N, 4)."""
        apart = torch.hypot(
            eta.unsqueeze(1) - eta.unsqueeze(2), phi.unsqueeze(1) - phi.unsqueeze(2)
        )
        delta = apart.clamp(_CLOSEST, 100.0).log()  # (B, N, N)
        momentum = pt.clamp(_SOFTEST, 100.0)
        first, second = momentum.unsqueeze(1), momentum.unsqueeze(2)
        softer = torch.minimum(first, second)
        logs = [
            delta,
            softer.log() + delta,
            (softer / (first + second)).log(),
            (first * second).log() + 2 * delta,
        ]
        return (torch.stack(logs, dim=-1) - self.pair_mean) / self.pair_spread


def load(device: str | torch.device = "cpu") -> JetClassifier:
    """The trained classifier, ready to judge; never runs code from a file.

    Args:
        device: Where to put it.
    Raises:
        ValueError: If the weights in the package are not those of :func:`card`.
    Example:
        >>> load().features(torch.rand(2, 30, 3)).shape
        torch.Size([2, 16])
    """
    weights = read_weights(_FOLDER, _NAME)
    with initial_weights(0):  # they are replaced, but the caller's generator is left alone
        model = JetClassifier()
    model.load_state_dict(weights)
    return model.requires_grad_(False).to(device).eval()


def knows(schema: CloudSchema) -> bool:
    """Whether clouds of a schema are jets: features of its names, units and positions.

    Example:
        >>> from gconvae.schema import SUPERPIXELS
        >>> knows(JETS), knows(SUPERPIXELS)
        (True, False)
    """
    return schema.same_nodes(JETS)


def card() -> dict[str, Any]:
    """What the trained classifier is: data, accuracy, seed, versions, checksum of the weights.

    Example:
        >>> card()["accuracy"]["test"] > 0.6
        True
    """
    return read_card(_FOLDER, _NAME)


def features(points: Any, mask: Any = None) -> Tensor:
    """Features of many jets by the trained classifier, in pieces, without gradients.

    Args:
        points: Jets (eta_rel, phi_rel, pt_rel), shape (B, N, 3), or in any form of
            :func:`gconvae.metrics.compare`; of more than 30 particles the hardest are looked at.
        mask: True where a particle is real, shape (B, N); None = all, or as ``points`` says.
    Returns:
        Shape (B, D), float32, on the device of ``points``; on the training jets of all three kinds
        each feature has mean 0 and standard deviation 1.
    Raises:
        ValueError: If the jets are not valid, see :func:`gconvae.clouds.as_clouds`.
    Example:
        >>> features(torch.rand(2, 30, 3)).shape
        torch.Size([2, 16])
    """
    clouds = as_sample(points if mask is None else (points, mask), "points", JETS)
    if clouds.schema is not None and not are_jets(clouds.schema):
        raise ValueError(
            f"points must be jets, particles of {', '.join(JETS.names)}, "
            f"got {', '.join(clouds.schema.names)}"
        )
    model = load(clouds.points.device)
    pieces = zip(clouds.points.split(CHUNK), clouds.mask.split(CHUNK), strict=True)
    with neutral(), torch.no_grad():
        return torch.cat([model.features(*piece) for piece in pieces])

"""The slides' network: a cloud as a small image whose rows are features and columns are nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.nn.gaussian import DiagonalGaussian
from gconvae.nn.linear import Linear
from gconvae.registry import check_counts, check_widths, register

__all__ = ["ConvDecoder", "ConvEncoder"]


@register("encoder", "conv")
class ConvEncoder(nn.Module):
    r"""Convolutions over nodes in the order given, then a dense layer: q(z|x), a Gaussian.

    The first kernel is (F, 5) and merges the features, the others are (1, 5); stride 1, padding
    (0, 1), so that 25 columns become 23, 21 and 19. ReLU after every layer but the last. It sees
    neighbours in the order of nodes: a model gives it the canonical order of its schema.

    Args:
        num_points: N, the number of columns.
        num_features: F, the number of rows.
        latent_dim: L.
        channels: Output channels of each convolution.
        hidden: Width of the dense layer.
        padding: Columns of zeros at both ends; 1 on the slides, 0 in the author's script.
        kernel: Nodes that a kernel spans.
    Raises:
        ValueError: If ``num_points`` is too small for the convolutions, or a width is below 1.
    References:
        | ConVAE Results (B. Orzari), slides
    Example:
        >>> posterior = ConvEncoder()(torch.rand(2, 25, 3))
        >>> posterior.mean.shape
        torch.Size([2, 10])
    """

    recordable = separable = True

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        latent_dim: int = 10,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 1500,
        padding: int = 1,
        kernel: int = 5,
    ) -> None:
        super().__init__()
        columns = _columns(num_points, channels, padding, kernel)
        check_counts(num_features=num_features, latent_dim=latent_dim, hidden=hidden)
        self.num_points, self.latent_dim = num_points, latent_dim
        widths = (1, *channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, (num_features if n == 0 else 1, kernel), padding=(0, padding))
            for n, (i, o) in enumerate(zip(widths, channels, strict=False))
        )
        self.dense = Linear(channels[-1] * columns[-1], hidden)
        self.gaussian = DiagonalGaussian(hidden, latent_dim)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent[Any]:
        """The posterior of each cloud.

        Args:
            points: Scaled features, nodes in canonical order, masked nodes 0, shape (B, N, F).
            mask: Not used: masked nodes are 0 already.
        Returns:
            A diagonal Gaussian with batch shape (B,) and event shape (L,).
        """
        hidden = _by_column(points.transpose(1, 2).unsqueeze(1))  # (B, 1, F, N)
        for conv in self.convs:
            hidden = torch.relu_(conv(hidden))  # (B, C, 1, columns)
        return self.gaussian(torch.relu_(self.dense(hidden.flatten(1))))


@register("decoder", "conv")
class ConvDecoder(nn.Module):
    r"""Mirror of :class:`ConvEncoder`: dense layers, then transposed convolutions to N nodes.

    Kernels (1, 5) and (F, 5) in the last layer; 19 columns become 21, 23 and 25. ReLU after every
    layer but the last, whose sigmoid keeps each feature in its range.

    Args:
        num_points: N, the number of nodes made.
        num_features: F.
        latent_dim: L.
        channels: Channels of the matching encoder, in the encoder's order.
        hidden: Width of the first dense layer.
        padding: Padding of the matching encoder.
        kernel: Kernel width of the matching encoder.
    Raises:
        ValueError: If ``num_points`` is too small for the convolutions, or a width is below 1.
    References:
        | ConVAE Results (B. Orzari), slides
    Example:
        >>> ConvDecoder()(torch.zeros(2, 10)).shape
        torch.Size([2, 25, 3])
    """

    recordable = separable = True

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        latent_dim: int = 10,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 1500,
        padding: int = 1,
        kernel: int = 5,
    ) -> None:
        super().__init__()
        columns = _columns(num_points, channels, padding, kernel)
        check_counts(num_features=num_features, latent_dim=latent_dim, hidden=hidden)
        self.num_points, self.latent_dim = num_points, latent_dim
        self.shape = (channels[-1], 1, columns[-1])
        self.dense = nn.Sequential(
            Linear(latent_dim, hidden),
            nn.ReLU(inplace=True),
            Linear(hidden, channels[-1] * columns[-1]),
            nn.ReLU(inplace=True),
        )
        widths = (*channels[::-1], 1)
        last = len(channels) - 1
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(
                i, o, (num_features if n == last else 1, kernel), padding=(0, padding)
            )
            for n, (i, o) in enumerate(zip(widths, widths[1:], strict=False))
        )

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Nodes of each cloud.

        Args:
            z: Shape (B, L).
            mask: Not used: every node is made, whichever of them are real.
        Returns:
            Features in [0, 1], shape (B, N, F), nodes in the network's own order.
        """
        hidden = _by_column(self.dense(z).unflatten(1, self.shape))  # (B, C, 1, columns)
        for conv in self.convs[:-1]:
            hidden = torch.relu_(conv(hidden))  # (B, C, 1, columns)
        unit = torch.sigmoid(self.convs[-1](hidden))  # (B, 1, F, N)
        return unit.squeeze(1).transpose(1, 2)


def _by_column(image: Tensor) -> Tensor:
    """With all features of a column side by side, the order in which a CPU convolves fastest."""
    if image.is_cuda:  # cuDNN would turn them back and forth
        return image
    return image.contiguous(memory_format=torch.channels_last)


def _columns(num_points: int, channels: Sequence[int], padding: int, kernel: int) -> list[int]:
    """Columns before and after each convolution: 25, 23, 21, 19 for the slides' network."""
    check_counts(num_points=num_points, kernel=kernel)
    check_widths("channels", channels)
    if not 0 <= padding <= (kernel - 1) // 2:
        raise ValueError(
            f"padding must be 0 to {(kernel - 1) // 2} for a kernel of {kernel}, got {padding}"
        )
    lost = kernel - 1 - 2 * padding
    columns = [num_points - n * lost for n in range(len(channels) + 1)]
    if columns[-1] < 1:
        raise ValueError(
            f"num_points must be at least {lost * len(channels) + 1} for {len(channels)} "
            f"convolutions of width {kernel} with padding {padding}, got {num_points}: padding "
            f"{(kernel - 1) // 2} or fewer channels take as few, or encoder deep_sets with "
            "decoder dense"
        )
    return columns

"""Loss terms of a whole jet: its mass and its transverse momentum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from gconvae.losses.pairs import checked_pair
from gconvae.registry import register
from gconvae.schema import JETS, CloudSchema

__all__ = ["InUnits", "JetMass", "JetPt", "check_schema", "momentum", "set_units"]

SMALLEST = 1e-12
"""Of a squared mass: a root has no gradient at 0, where a jet has one particle."""


class InUnits(Protocol):
    """What knows how the units of a loss become those of the data."""

    def unscale(self, scaled: Tensor) -> Tensor:
        """Scaled units to data units, shape (..., F) to (..., F)."""


def momentum(jets: Tensor) -> Tensor:
    r"""Energy and momentum of all particles of a jet together, which are taken to be massless.

    .. math:: (E, p_x, p_y, p_z) = \sum_i p_{T,i} \,
        (\cosh\eta_i, \cos\phi_i, \sin\phi_i, \sinh\eta_i)

    Args:
        jets: Data units, eta_rel, phi_rel and pt_rel, pt_rel 0 where there is no particle, shape
            (B, N, 3).
    Returns:
        In units of the jet's pT, shape (B, 4).
    Example:
        >>> momentum(torch.tensor([[[0.0, 0.0, 0.5], [0.0, 0.0, 0.25]]]))
        tensor([[0.7500, 0.7500, 0.0000, 0.0000]])
    """
    eta, phi, pt = jets.unbind(-1)  # (B, N)
    return (
        torch.stack([eta.cosh(), phi.cos(), phi.sin(), eta.sinh()], dim=-1)
        .mul(pt.unsqueeze(-1))
        .sum(1)
    )


class _OfTheJet(nn.Module, ABC):
    """Squared difference of a number of the jet; without units, points are in data units."""

    recordable = separable = True

    def __init__(self) -> None:
        super().__init__()
        self._units: tuple[InUnits, ...] = ()  # in a tuple: a scaling is no part of the loss

    def set_units(self, units: InUnits) -> None:
        """Takes how units of the loss become data units."""
        self._units = (units,)

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
    ) -> Tensor:
        """Per-jet loss, shape (B,).

        Args:
            target: Jets, shape (B, N, 3).
            output: Likewise, shape (B, M, 3).
            target_mask: True where a particle is real, shape (B, N); None = all.
            output_mask: Likewise, shape (B, M).
        Raises:
            ValueError: If shapes do not match, a jet is empty, or there are not 3 features.
        """
        target, output = checked_pair(target, output, target_mask, output_mask)
        if target.shape[-1] != 3:
            raise ValueError(
                "target must be jets, particles of eta_rel, phi_rel and pt_rel, "
                f"got {target.shape[-1]} features"
            )
        sides = (self._of(target, target_mask), self._of(output, output_mask))
        return (sides[0] - sides[1]).square()

    def _of(self, jets: Tensor, mask: Tensor | None) -> Tensor:
        for units in self._units:
            jets = units.unscale(jets)
        if mask is not None:
            jets = jets.masked_fill(~mask.unsqueeze(-1), 0.0)
        return self.number(momentum(jets))

    @abstractmethod
    def number(self, total: Tensor) -> Tensor:
        """Of energy and momentum, shape (B, 4) to (B,)."""


@register("loss", "jet_mass")
class JetMass(_OfTheJet):
    r"""Squared difference of the jets' relative masses.

    .. math:: (m - \hat m)^2, \quad m^2 = E^2 - |\vec p|^2

    In units of the jet's pT, about 1e-3 for jets that differ as two of one kind do, so it is one
    term of a sum such as ``third_axis + 1000 * jet_mass``.

    References:
        | Particle-based fast jet simulation at the LHC with variational autoencoders (Touranakou
          et al., 2022), arXiv:2203.00520
        | LHC hadronic jet generation using convolutional variational autoencoders with normalizing
          flows (Orzari et al., 2023), arXiv:2310.13138
    Example:
        >>> jet = torch.tensor([[[0.1, 0.0, 0.5], [-0.1, 0.0, 0.5]]])
        >>> JetMass()(jet, 2 * jet).sqrt()  # 0.100 against 2 * sinh(0.2)
        tensor([0.3025])
    """

    def number(self, total: Tensor) -> Tensor:
        """The mass, shape (B,)."""
        energy, *momenta = total.unbind(-1)
        squared = energy.square() - sum(part.square() for part in momenta)
        return squared.clamp(min=SMALLEST).sqrt()


@register("loss", "jet_pt")
class JetPt(_OfTheJet):
    r"""Squared difference of the jets' relative transverse momenta.

    .. math:: (p_T - \hat p_T)^2, \quad p_T^2 = p_x^2 + p_y^2

    References:
        | As :class:`JetMass`.
    Example:
        >>> jet = torch.tensor([[[0.0, 0.0, 0.5], [0.0, 0.0, 0.25]]])
        >>> JetPt()(jet, jet[:, :1]).sqrt()
        tensor([0.2500])
    """

    def number(self, total: Tensor) -> Tensor:
        """The transverse momentum, shape (B,)."""
        return total[:, 1:3].square().sum(-1).clamp(min=SMALLEST).sqrt()


def check_schema(loss: nn.Module, schema: CloudSchema) -> None:
    """Sees whether a loss is one of clouds with these features.

    Args:
        loss: A loss, perhaps made of others.
        schema: Of the clouds.
    Raises:
        ValueError: If a term is of jets alone and the features are others.
    Example:
        >>> check_schema(JetPt(), JETS)  # no error
    """
    for part in loss.modules():
        if isinstance(part, _OfTheJet) and schema.names != JETS.names:
            raise ValueError(
                f"loss must not be of jets, as {type(part).__name__} is, for nodes of "
                f"{', '.join(schema.names)}; jets are particles of {', '.join(JETS.names)} "
                "(schema=gconvae.schema.JETS)"
            )


def set_units(loss: nn.Module, units: InUnits) -> None:
    """Tells every term that asks for it how units of the loss become those of the data.

    Args:
        loss: A loss, perhaps made of others.
        units: Such as a :class:`gconvae.scaling.FeatureScaling`.
    Example:
        >>> class Halved:
        ...     def unscale(self, scaled):
        ...         return scaled / 2
        >>> loss, jet = JetPt(), torch.tensor([[[0.0, 0.0, 0.5]]])
        >>> set_units(loss, Halved())
        >>> loss(jet, 2 * jet).sqrt()
        tensor([0.2500])
    """
    own = getattr(loss, "set_units", None)
    if own is not None:
        own(units)
        return
    for part in loss.children():
        set_units(part, units)

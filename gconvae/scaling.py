"""Invertible scaling between data units, units of the loss, and the decoder's unit interval."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from gconvae.schema import EXTENT, CloudSchema, Tail

__all__ = ["MARGIN", "FeatureScaling"]

MARGIN = 0.5
"""How far clouds may lie beyond the range of the training clouds, in units of that range."""

ROUNDING = 1e-4
"""Share of a range by which a value may miss it: numbers went through float32."""


class FeatureScaling(nn.Module):
    r"""Maps each feature from its range in data units to [0, extent], the units of the loss.

    .. math:: s_f = e \, \frac{t_f(p_f - o_f) - t_f(l_f)}{t_f(h_f) - t_f(l_f)}

    The decoder's sigmoid covers [0, 1] = scaled / extent, so that no output leaves its feature's
    range. t is the identity, or of a heavy-tailed feature its :class:`~gconvae.schema.Tail`, so
    that the many small values are told apart too. o is the feature's offset, taken away in
    float64 where clouds enter and put back where they leave (:meth:`enter`, :meth:`leave`): what
    lies between is relative to it. A feature that never changes has l = h and comes back as l.

    Args:
        low: Smallest value of each feature, relative to its offset, shape (F,).
        high: Largest value, likewise.
        extent: Length e of the scaled range.
        schema: Says which features have heavy tails, offsets and ranges that are known; None =
            none.
    Raises:
        ValueError: If the shapes differ, a ``high`` is below its ``low``, or the schema has
            another number of features.
    Example:
        >>> from gconvae.schema import SUPERPIXELS
        >>> scaling = FeatureScaling.of(SUPERPIXELS)
        >>> scaling.scale(torch.tensor([13.5, 27.0, 0.5]))
        tensor([13.5000, 27.0000, 13.5000])
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        low: Tensor,
        high: Tensor,
        extent: float = EXTENT,
        schema: CloudSchema | None = None,
    ) -> None:
        super().__init__()
        low, high = torch.as_tensor(low), torch.as_tensor(high)
        if low.dim() != 1 or low.shape != high.shape:
            raise ValueError(
                f"low and high must both have shape (F,), got {tuple(low.shape)} and "
                f"{tuple(high.shape)}"
            )
        if not (high >= low).all():
            raise ValueError(
                f"high must not be below low in any feature, got {low.tolist()} and "
                f"{high.tolist()}"
            )
        if not 0 < extent < math.inf:
            raise ValueError(f"extent must be finite and above 0, got {extent}")
        if schema is not None and schema.num_features != len(low):
            raise ValueError(
                f"schema must have {len(low)} features like low, got {schema.num_features}"
            )
        self.extent = float(extent)
        features = () if schema is None else schema.features
        self.tails: tuple[Tail | None, ...] = tuple(f.tail for f in features) or (None,) * len(low)
        self.offsets: tuple[float, ...] = tuple(f.offset for f in features) or (0.0,) * len(low)
        self.is_known: tuple[bool, ...] = tuple(f.low is not None for f in features) or (
            False,
        ) * len(low)
        self.names: tuple[str, ...] = tuple(f.name for f in features) or tuple(
            f"feature {n}" for n in range(len(low))
        )
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())
        self.is_varied = bool((high > low).all())

    @classmethod
    def of(cls, schema: CloudSchema) -> FeatureScaling:
        """The scaling of a schema before any clouds: its ranges, [0, 1] where it knows none.

        Example:
            >>> from gconvae.schema import points
            >>> FeatureScaling.of(points("x y")).high
            tensor([1., 1.])
        """
        low = [0.0 if f.low is None else f.low - f.offset for f in schema.features]
        high = [1.0 if f.high is None else f.high - f.offset for f in schema.features]
        return cls(torch.tensor(low), torch.tensor(high), schema.extent, schema)

    @classmethod
    def fitted(
        cls,
        schema: CloudSchema,
        points: Tensor,
        mask: Tensor | None = None,
        *,
        known: bool = True,
    ) -> FeatureScaling:
        """The ranges of a schema, and where it knows none, those of training clouds.

        Args:
            schema: What the features are.
            points: Training clouds in data units, shape (B, N, F).
            mask: Shape (B, N), or None for all real.
            known: Whether ranges that the schema knows are taken; else all are of the clouds.
        Example:
            >>> from gconvae.schema import points
            >>> clouds = torch.tensor([[[-1.0, 0.0], [1.0, 2.0]]])
            >>> FeatureScaling.fitted(points("x y"), clouds).low
            tensor([-1.,  0.])
        """
        nodes = points.flatten(0, 1) if mask is None else points[mask]  # (P, F)
        return cls.of_range(schema, nodes.amin(0), nodes.amax(0), known=known)

    @classmethod
    def of_range(
        cls, schema: CloudSchema, low: Tensor, high: Tensor, *, known: bool = True
    ) -> FeatureScaling:
        """:meth:`fitted` to clouds of which lowest and highest values are known.

        Args:
            schema: What the features are.
            low: In data units, shape (F,).
            high: Likewise.
            known: As of :meth:`fitted`.
        """
        scaling = cls.of(schema)
        low, high = (scaling.enter(end).to(scaling.low.dtype) for end in (low, high))
        taken = torch.tensor([known and is_known for is_known in scaling.is_known])
        taken = taken.to(low.device)
        low = torch.where(taken, scaling.low.to(low), low)
        high = torch.where(taken, scaling.high.to(high), high)
        fitted = cls(low, high, schema.extent, schema)
        fitted.is_known = tuple(taken.tolist())
        return fitted

    @property
    def num_features(self) -> int:
        """F, the number of features."""
        return len(self.low)

    def enter(self, points: Tensor) -> Tensor:
        """Data units minus the offsets, in float64 where there are some, shape (..., F)."""
        if not any(self.offsets):
            return points
        return points.double() - torch.tensor(
            self.offsets, dtype=torch.float64, device=points.device
        )

    def leave(self, points: Tensor) -> Tensor:
        """The inverse of :meth:`enter`: float64 where there are offsets."""
        if not any(self.offsets):
            return points
        return points.double() + torch.tensor(
            self.offsets, dtype=torch.float64, device=points.device
        )

    def scale(self, points: Tensor) -> Tensor:
        """Data units to scaled units, shape (..., F) to (..., F)."""
        return self.to_unit(points) * self.extent

    def unscale(self, scaled: Tensor) -> Tensor:
        """Scaled units to data units, the inverse of :meth:`scale`."""
        low, high = self._ends()
        return self._bent(scaled / self.extent * (high - low) + low, back=True)

    def from_unit(self, unit: Tensor) -> Tensor:
        """The decoder's [0, 1] to scaled units; a feature that never changes stays at 0."""
        return (unit if self.is_varied else unit * (self.high > self.low)) * self.extent

    def to_unit(self, points: Tensor) -> Tensor:
        """Data units to the decoder's [0, 1], shape (..., F) to (..., F)."""
        low, high = self._ends()
        width = high - low
        if not self.is_varied:
            width = torch.where(self.high > self.low, width, 1.0)
        return (self._bent(points) - low) / width

    def hold(self, points: Tensor, mask: Tensor, name: str | None) -> Tensor:
        """Clouds within the ranges: what is known is a rule, what was seen is a guess.

        A range that the schema knows has an edge, and a value beyond it is an error. The range of
        training clouds is that of a sample, and some nodes of the next sample lie beyond it: up
        to :data:`MARGIN` they stay, what is farther is moved there and counted in a warning.

        Args:
            points: Data units relative to the offsets, shape (B, N, F).
            mask: Shape (B, N).
            name: What messages call ``points``; None = nothing is said, and all is moved.
        Returns:
            Shape (B, N, F).
        Warns:
            UserWarning: With the number of nodes that were moved.
        Raises:
            ValueError: If a real node lies outside a known range; the message names the feature.
        """
        nodes = points[mask]  # (P, F)
        ends, rounding = self._margins()
        least, most = nodes.amin(0), nodes.amax(0)
        outside = (least < ends[0] - rounding) | (most > ends[1] + rounding)
        if not outside.any():
            return points
        if name is not None:
            self._refuse(outside, least, most, name)
        held = torch.maximum(torch.minimum(points, ends[1]), ends[0])
        moved = (held != points) & mask.unsqueeze(-1) & outside
        if name is None:
            return torch.where(moved, held, points)
        features = [self.names[f] for f in outside.nonzero().flatten().tolist()]
        warnings.warn(
            f"{int(moved.any(-1).sum())} of {len(nodes)} nodes of {name} lie far outside the "
            f"range of the training clouds in {', '.join(features)} and are moved to its margin;"
            " a schema with a wider range, or with a heavy tail, holds them",
            stacklevel=3,
        )
        return torch.where(moved, held, points)

    def clamped(self, points: Tensor) -> Tensor:
        """:meth:`hold` that looks at each value by itself and refuses none, for exported graphs.

        Args:
            points: Data units relative to the offsets, shape (..., F).
        Returns:
            Shape (..., F); values beyond a range, or its margin, lie at the end of that.
        """
        (least, most), rounding = self._margins()
        beyond = (points < least - rounding) | (points > most + rounding)
        return torch.where(beyond, torch.maximum(torch.minimum(points, most), least), points)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"low={self.low.tolist()}, high={self.high.tolist()}, extent={self.extent:g}"

    def _refuse(self, outside: Tensor, least: Tensor, most: Tensor, name: str) -> None:
        for feature in outside.nonzero().flatten().tolist():
            if self.is_known[feature]:
                raise ValueError(
                    f"{name} must lie in [{self.low[feature]:g}, {self.high[feature]:g}] in "
                    f"{self.names[feature]}, got [{least[feature]:g}, {most[feature]:g}]; a "
                    "schema without this range, or fit(scaling='range'), takes any"
                )

    def _margins(self) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Ends that values may reach, and by how much they may miss them, shape (F,) each."""
        low, high = self._ends()
        margin = (
            MARGIN
            * (high - low)
            * torch.tensor([not is_known for is_known in self.is_known], device=low.device)
        )
        ends = self._bent(low - margin, back=True), self._bent(high + margin, back=True)
        return ends, ROUNDING * (self.high - self.low).clamp(min=1e-30)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Ends of the ranges after the transforms of heavy tails, each (F,)."""
        return self._bent(self.low), self._bent(self.high)

    def _load_from_state_dict(self, *arguments: Any, **further: Any) -> None:
        super()._load_from_state_dict(*arguments, **further)
        self.is_varied = bool((self.high > self.low).all())

    def _bent(self, values: Tensor, *, back: bool = False) -> Tensor:
        """Heavy-tailed features through their transforms, or back, shape (..., F)."""
        if not any(self.tails):
            return values
        columns = list(values.unbind(-1))
        for feature, tail in enumerate(self.tails):
            if tail is not None:
                columns[feature] = _transformed(columns[feature], tail, back)
        return torch.stack(columns, dim=-1)


def _transformed(values: Tensor, tail: Tail, back: bool) -> Tensor:
    size = values.abs()
    if tail.kind == "log" and not back:
        bent = torch.log1p(size / tail.scale)
    elif tail.kind == "log":
        bent = torch.expm1(size) * tail.scale
    else:
        bent = size ** (1 / tail.scale if back else tail.scale)
    return values.sign() * bent

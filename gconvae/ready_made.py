"""The ready-made models by name, and their parts; standard library only, so that help is fast."""

from __future__ import annotations

from typing import NamedTuple

from gconvae.plain import did_you_mean

__all__ = ["ReadyMade", "available", "get"]


class ReadyMade(NamedTuple):
    """Parts of a ready-made model, each as :func:`gconvae.models.create` takes it.

    Attributes:
        encoder: From clouds to latents.
        decoder: From latents to clouds.
        prior: Where latents are drawn from.
        likelihood: What is drawn around the decoder's mean.
    """

    encoder: str
    decoder: str
    prior: str = "standard_normal"
    likelihood: str = "mean"


_MODELS = {
    "convae": ReadyMade("conv", "conv"),
    "convae-flow": ReadyMade("conv", "conv", "nsf", "autoregressive"),
    "convae-flow-matching": ReadyMade("conv", "conv", "nsf", "flow_matching"),
    "edge_conv": ReadyMade("edge_conv", "graph"),
    "dynamic_edge_conv": ReadyMade("dynamic_edge_conv", "graph"),
    "monet": ReadyMade("monet", "graph"),
    "gatv2": ReadyMade("graph_conv(conv='GATv2Conv', conv_options={'heads': 4})", "graph"),
    "point_transformer": ReadyMade("graph_conv(conv='PointTransformerConv', width=32)", "graph"),
    "gin": ReadyMade("graph_conv(conv='GINConv')", "graph"),
    "deep_sets": ReadyMade("deep_sets", "dense"),
    "set_transformer": ReadyMade("set_transformer", "set_transformer"),
}


def available() -> list[str]:
    """Names of the ready-made models.

    Example:
        >>> available()[:2]
        ['convae', 'convae-flow']
    """
    return list(_MODELS)


def get(name: str) -> ReadyMade:
    """The parts of a ready-made model.

    Args:
        name: One of :func:`available`.
    Raises:
        ValueError: If there is no such model.
    Example:
        >>> get("convae-flow").prior
        'nsf'
    """
    if name not in _MODELS:
        hint = did_you_mean(name, _MODELS)
        raise ValueError(f"model must be one of {', '.join(_MODELS)}, got {name!r}{hint}")
    return _MODELS[name]

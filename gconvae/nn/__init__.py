"""Networks: one file a family, encoder and decoder side by side where they match.

``conv`` is the slides' network, ``graph`` holds encoders on nearest neighbours, ``sets`` those on
bare sets and the decoder of learned queries, ``dense`` and ``refinement`` the other decoders.
"""

from gconvae.nn.conv import ConvDecoder, ConvEncoder
from gconvae.nn.dense import DenseDecoder
from gconvae.nn.gaussian import DiagonalGaussian
from gconvae.nn.graph import (
    DynamicEdgeConvEncoder,
    EdgeConvEncoder,
    EdgeConvEncoderBase,
    GraphConvEncoder,
    MoNetEncoder,
)
from gconvae.nn.refinement import GraphDecoder
from gconvae.nn.sets import DeepSetsEncoder, SetTransformerDecoder, SetTransformerEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "DeepSetsEncoder",
    "DenseDecoder",
    "DiagonalGaussian",
    "DynamicEdgeConvEncoder",
    "EdgeConvEncoder",
    "EdgeConvEncoderBase",
    "GraphConvEncoder",
    "GraphDecoder",
    "MoNetEncoder",
    "SetTransformerDecoder",
    "SetTransformerEncoder",
]

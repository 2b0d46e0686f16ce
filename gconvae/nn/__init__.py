"""Networks: one file a family, encoder and decoder side by side so that they match."""

from gconvae.nn.conv import ConvDecoder, ConvEncoder

__all__ = ["ConvDecoder", "ConvEncoder"]

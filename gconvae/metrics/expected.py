"""How long the parts of a comparison take, about: what its progress bar weighs them by."""

from __future__ import annotations

from gconvae.metrics.samples import Comparison

__all__ = ["classifier", "features", "frechet", "kernel", "memorization", "sets"]

# seconds of a core of an AMD EPYC, fitted to benchmarks/compare.py; a bar uses their ratios only


def features(c: Comparison) -> float:
    """Each resampling sums all nodes once, feature by feature."""
    resamplings = 2 * c.num_splits + c.num_bootstrap
    nodes = sum(int(c.samples[name].mask.sum()) for name in c.samples if name != "training")
    return 8e-9 * resamplings * nodes * len(c.schema.features)


def sets(c: Comparison) -> float:
    """3.5 n^2 pairs of clouds, of which all nodes are compared."""
    nodes = float(c.cut.mask.sum()) / len(c.cut.mask)
    resamplings = c.num_splits + c.num_bootstrap
    return 3.5 * c.size**2 * 7e-9 * nodes**2 + 2e-6 * resamplings * c.size


def frechet(c: Comparison) -> float:
    """Mostly the 21 lines in 1 / N, of 100 distances each."""
    return 2.5 + _embedding(c)


def kernel(c: Comparison) -> float:
    """One table of n^2 pairs."""
    return 4e-7 * c.size**2


def classifier(c: Comparison) -> float:
    """Nine times five trainings on 1.6 n rows."""
    return 7e-3 * c.size


def memorization(c: Comparison) -> float:
    """All training clouds go through the embedding."""
    return 0.0 if c.training is None else 2e-4 * c.training.number


def _embedding(c: Comparison) -> float:
    return 6e-4 * c.size

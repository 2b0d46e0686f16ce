"""Frechet ParticleNet distance, by the network of the package jetnet."""

from __future__ import annotations

from typing import Any

import numpy as np

from gconvae.metrics.jets.particles import particles

__all__ = ["KINDS", "NUM_PARTICLES", "fpnd"]

KINDS = ("g", "q", "t")
"""Gluon, light-quark and top jets: what that package has numbers of."""

NUM_PARTICLES = 30
"""Particles of a jet that its network takes."""


def fpnd(jets: Any, kind: str, *, device: str = "cpu", batch_size: int = 256) -> float:
    """Frechet distance of ParticleNet's features between jets and JetNet's real ones.

    Network and statistics of the real jets are those of the package jetnet, which is not a part of
    gconvae: ``pip install jetnet``. They are of JetNet's own simulation: jets of another one, such
    as :class:`gconvae.datasets.Jets`, lie far from it however real they are.

    Args:
        jets: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel; of more than 30 particles the 30
            hardest are taken, fewer are filled up. 50,000 jets for values that compare.
        kind: Of the real jets, "g", "q" or "t".
        device: Where the network runs, "cpu" or "cuda".
        batch_size: Jets that go through it at a time.
    Returns:
        At least 0, a pure number.
    Raises:
        ValueError: If the jets are not valid or ``kind`` is unknown.
        ModuleNotFoundError: If jetnet is not installed.
    References:
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks (Kansal et
          al., 2021), arXiv:2106.11535
        | ParticleNet: Jet Tagging via Particle Clouds (Qu and Gouskos, 2020), arXiv:1902.08570
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    eta, phi, pt, mask = particles(jets)
    try:
        from jetnet import evaluation
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the Frechet ParticleNet distance needs JetNet's network: pip install jetnet"
        ) from error
    hardest = np.argsort(np.where(mask, -pt, np.inf), axis=1, kind="stable")[:, :NUM_PARTICLES]
    columns = [np.take_along_axis(values, hardest, 1) for values in (eta, phi, pt)]
    missing = max(0, NUM_PARTICLES - hardest.shape[1])
    rows = np.pad(np.stack(columns, axis=-1), ((0, 0), (0, missing), (0, 0)))
    return float(
        evaluation.fpnd(
            rows.astype(np.float32), kind, device=device, batch_size=batch_size, use_tqdm=False
        )
    )

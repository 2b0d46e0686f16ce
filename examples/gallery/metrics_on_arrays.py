"""
Metrics alone
=============

Two arrays are enough to compare. The samples may come from any model, of any library.
"""

import numpy as np

import gconvae

random = np.random.default_rng(0)


def helices(number: int, noise: float) -> np.ndarray:
    """Points along helices of random pitch, in cm, shape (B, 30, 3)."""
    turn = np.linspace(0, 4 * np.pi, 30)
    pitch = random.uniform(0.2, 0.5, (number, 1))
    radius = random.uniform(1.0, 2.0, (number, 1))
    curve = np.stack([radius * np.cos(turn), radius * np.sin(turn), pitch * turn], axis=-1)
    return curve + random.normal(0, noise, curve.shape)


real = helices(400, noise=0.02)
generated = helices(400, noise=0.1)  # a model that blurs

# %%
# W1 of the features hardly tells them apart: each coordinate is about right. The minimum matching
# distance (MMD) sees the blur, and so does a trained classifier (AUC). Coverage and 1-NNA do not:
# the nearest neighbour of a blurred cloud is a real one. No single metric is enough.

schema = gconvae.schema.points("x y z", unit="cm")
report = gconvae.metrics.compare(
    real, generated, metrics=["features", "sets", "classifier"], schema=schema
)
print(report)

# %%
# The same as a figure. Grey is what two real samples differ by.

gconvae.plots.report(report)

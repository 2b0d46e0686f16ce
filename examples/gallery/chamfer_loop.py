"""
The Chamfer loss in a loop of your own
======================================

The losses are functions of two batches of clouds. They need no model of this library, no schema
and no trainer.
"""

import torch
from torch import nn

import gconvae

points = gconvae.datasets.SuperpixelMNIST(digit=8, split="train").points
scale = points.amax((0, 1))
points = points / scale  # features in [0, 1]

# %%
# ``third_axis`` takes the intensity as a third coordinate. It gives one number a cloud, in units
# of feature squared.

loss = gconvae.losses.ThirdAxisChamfer()
print(loss(points[:4], points[4:8]))

# %%
# An autoencoder in plain PyTorch.

torch.manual_seed(0)
network = nn.Sequential(
    nn.Flatten(),
    nn.Linear(75, 256),
    nn.ReLU(),
    nn.Linear(256, 10),
    nn.Linear(10, 256),
    nn.ReLU(),
    nn.Linear(256, 75),
    nn.Sigmoid(),
    nn.Unflatten(1, (25, 3)),
)
optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
for epoch in range(10):
    total = 0.0
    for batch in torch.randperm(len(points)).split(100):
        value = loss(points[batch], network(points[batch])).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        total += value.item() * len(batch)
    if epoch % 3 == 0:
        print(f"epoch {epoch}: {total / len(points):.3f}")

# %%
with torch.no_grad():
    decoded = network(points[:5]) * scale
real = points[:5] * scale
schema = gconvae.schema.SUPERPIXELS
samples = {"real": real, "decoded": decoded}
gconvae.plots.compare_grids(samples, rows=1, columns=5, schema=schema)

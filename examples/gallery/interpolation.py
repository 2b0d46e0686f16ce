"""
Between two clouds
==================

A straight line between the latents of two real clouds, decoded on the way. The decoder's mean
changes smoothly from one to the other.
"""

import gconvae

model = gconvae.load("pretrained:eights")
test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")

# %%
# Three pairs of test clouds, and eight steps from the first to the second of each.

first, second = test.points[:3], test.points[3:6]
lines = model.interpolate(first, second, steps=8)
print(lines.shape)

# %%
gconvae.plots.cloud_grid(lines.flatten(0, 1), rows=3, columns=8, schema=test.schema)

# %%
# The likelihood draws sharp clouds around each mean. The same seed gives the same noise.

latents = model.embed(test.points[:2])
way = [latents[0] + share * (latents[1] - latents[0]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
drawn = model.sample(z=[step.tolist() for step in way], seed=0)
gconvae.plots.cloud_grid(drawn, rows=1, columns=5, schema=test.schema)

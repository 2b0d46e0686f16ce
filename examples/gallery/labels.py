"""
Labels
======

One model for several classes, which draws the one that it is asked for. Data with labels are all
that it takes.
"""

import gconvae

train = gconvae.datasets.SuperpixelMNIST(digit=[0, 1, 7], split="train")

# %%
# ``num_classes`` is the largest label plus one. Decoder and prior are conditioned on the
# label.

model = gconvae.models.create("convae", num_classes=8, hidden=256, seed=0)
run = gconvae.fit(model, train, epochs=3, seed=0, progress=False)

# %%
# ``label`` is one for all, or one for each cloud.

clouds = run.model.sample_clouds(24, seed=0, label=[0] * 8 + [1] * 8 + [7] * 8)
gconvae.plots.cloud_grid(clouds, rows=3, columns=8)

# %%
# Without it, labels are drawn as often as they occur in training.

print(run.model.sample_clouds(1000, seed=0).labels.bincount(minlength=8).tolist())

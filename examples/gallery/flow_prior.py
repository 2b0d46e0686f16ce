"""
A flow prior
============

Latents of real clouds are not normally distributed. Drawing them from N(0, 1) leaves the decoder
with vectors that it has never seen. A normalizing flow learns their distribution after the
training.
"""

import matplotlib.pyplot as plt
import torch

import gconvae

train = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")
test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")

model = gconvae.models.create("convae", seed=0)
run = gconvae.fit(model, train, beta=0.3, epochs=5, seed=0, progress=False)

# %%
# ``with_prior`` gives a copy with another prior, fitted to the latents of these clouds. ``nsf`` is
# a neural spline flow; ``gmm`` would be a mixture of Gaussians.

with_flow = run.model.with_prior("nsf", train)

# %%
# The first latent of real clouds, and of both priors.

latents = {
    "real clouds": run.model.embed(train.points),
    "N(0, 1)": run.model.prior.sample(4000, torch.Generator().manual_seed(0)),
    "flow": with_flow.prior.sample(4000, torch.Generator().manual_seed(0)),
}
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, z), color in zip(latents.items(), ("0.4", "#0072B2", "#D55E00"), strict=True):
    axes.hist(z[:, 0], bins=60, density=True, histtype="step", color=color, label=name)
axes.set(xlabel="first latent", ylabel="density")
axes.legend(frameon=False)
plt.show()

# %%
for name, each in (("N(0, 1)", run.model), ("flow", with_flow)):
    report = gconvae.metrics.compare(test, each.sample_clouds(1000, seed=0), metrics="features")
    print(name, *(f"{row.name} {row.value:.3f}" for row in report.rows[:3]))

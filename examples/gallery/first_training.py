"""
A first training
================

Train the network of the slides on digit 8, draw new clouds, and see how close they are to real
ones. Five epochs show how it works; ``gconvae train`` does the real thing.
"""

import gconvae

train = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")
test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
print(train.points.shape)  # clouds, nodes, features (x in px, y in px, intensity)

# %%
# A model is an encoder, a decoder, a prior and a likelihood. ``convae`` is the convolutional pair
# of the slides, with a standard normal prior. A training without validation clouds keeps a tenth
# of the training clouds aside.

model = gconvae.models.create("convae", latent_dim=10, seed=0)
run = gconvae.fit(model, train, loss="third_axis", epochs=5, seed=0, progress=False)
gconvae.plots.loss_curves(run.history)

# %%
# Reconstructed clouds went through encoder and decoder. Generated ones are decoded from latents
# that were drawn from the prior.

samples = {
    "real": test,
    "reconstructed": run.model.reconstruct_clouds(test.points[:25]),
    "generated": run.model.sample_clouds(1000, seed=0),
}
gconvae.plots.compare_grids(samples, rows=5, columns=5)

# %%
# W1 is the mean distance by which a feature of the nodes has to be moved to turn one sample into
# the other. *Floor* is the same between two real samples: the best that a model can reach. After
# five epochs this one is far from it, and a network that returns a mean never gets near. The
# recipe ``convae-flow`` adds a flow prior and a likelihood, and reaches the floor.

print(gconvae.metrics.compare(test, samples["generated"], metrics="features"))

# %%
# Its weights come with the package.

best = gconvae.load("pretrained:eights").sample_clouds(1000, seed=0)
print(gconvae.metrics.compare(test, best, metrics="features"))

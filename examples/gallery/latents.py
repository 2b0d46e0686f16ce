"""
Latents into scikit-learn
=========================

The encoder turns a cloud into a vector of ten numbers. Anything that takes vectors can use them:
here a classifier and a map.
"""

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import gconvae

train = gconvae.datasets.SuperpixelMNIST(digit=[0, 4], split="train")
test = gconvae.datasets.SuperpixelMNIST(digit=[0, 4], split="test")

model = gconvae.models.create("convae", seed=0)
run = gconvae.fit(model, train, beta=0.1, epochs=4, seed=0, progress=False)

# %%
# A small beta leaves more of a cloud in its latents. ``embed`` gives the means of the posteriors,
# without gradient.

latents = {"train": run.model.embed(train.points), "test": run.model.embed(test.points)}
print(latents["train"].shape)

# %%
# Nobody told the model which cloud is which digit.

classifier = LogisticRegression(max_iter=1000).fit(latents["train"], train.labels)
print(f"called right: {classifier.score(latents['test'], test.labels):.3f}")

# %%
flat = PCA(2).fit_transform(latents["test"])
figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
for digit, color in ((0, "#0072B2"), (4, "#D55E00")):
    chosen = (test.labels == digit).numpy()
    axes.scatter(*flat[chosen].T, s=6, color=color, label=f"digit {digit}")
axes.set(xlabel="first principal component", ylabel="second")
axes.legend(frameon=False)
plt.show()

"""
Custom images
=============

Grey images become clouds of superpixels: the brightest regions, each a node with its centre and
its mean intensity. Here scikit-learn's small digits are the images.
"""

import numpy as np
from sklearn.datasets import load_digits

import gconvae

# %%
# 8 x 8 pixels are few for superpixels, so each pixel is drawn 4 x 4.

digits = load_digits()
images = np.kron(digits.images / 16, np.ones((1, 4, 4)))
points, mask = gconvae.superpixels.from_images(images, num_points=16)
print(points.shape, "nodes that are real:", f"{mask.float().mean():.2f}")

# %%
gconvae.plots.images_and_clouds(images[:10], points[:10], mask[:10], rows=1)

# %%
# The clouds and their labels are a data set as any other.

schema = gconvae.schema.superpixels(32)
data = gconvae.datasets.from_points(points, mask, labels=digits.target, schema=schema)
print(data[0])

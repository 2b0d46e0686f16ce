"""
Edges of a graph encoder
========================

Graph networks pass messages along edges between near nodes. ``edge_conv`` finds them once, from
positions; ``dynamic_edge_conv`` again in every layer. Here are the edges that the first sees.
"""

import torch
from matplotlib.figure import Figure

import gconvae

data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
points = data.points[:4]

# %%
# Packed nodes and the number of the cloud that each lies in: the layout of PyTorch Geometric.

clouds, nodes, features = points.shape
batch = torch.arange(clouds).unsqueeze(1).expand(clouds, nodes)
packed = points.reshape(-1, features)
edges = gconvae.neighbors.knn_graph(packed[:, :2], 4, batch.flatten(), backend="dense")
print(edges.shape)  # from, to


# %%
def draw() -> Figure:
    """The nodes of each cloud, and a line for each of its edges."""
    figure = gconvae.plots.cloud_grid(points, rows=1, columns=4, schema=data.schema)
    for number, axes in enumerate(figure.axes[:clouds]):
        inside = batch.flatten()[edges[0]] == number
        for pair in edges[:, inside].T:
            axes.plot(*packed[pair, :2].T, color="0.6", linewidth=0.6, zorder=0)
    return figure


draw()

# %%
# A model with such an encoder. The decoder stays that of the slides.

model = gconvae.models.create("convae", encoder="edge_conv(neighbors=4)", seed=0)
print(model.encoder)

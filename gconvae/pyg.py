"""PyG, imported without what it says while it is imported: nobody but its makers can change it.

Whoever needs a part of PyG takes it from here.
"""

from __future__ import annotations

from gconvae.quiet import ignoring

__all__ = ["Data", "Dataset", "InMemoryDataset", "datasets", "nn"]

with ignoring(
    # torch 2.15 deprecates what PyG 2.8 does to its classes; goes with a PyG that does not
    "`torch.jit.script` is deprecated",
    # PyG 2.8 no longer uses torch-cluster, which we do; goes when it stops looking for it
    "'torch-[a-z-]+' is no longer necessary",
    # it imports tqdm.auto for bars that we do not show; goes when that asks for no ipywidgets
    "IProgress not found",
):
    from torch_geometric import datasets, nn
    from torch_geometric.data import Data, Dataset, InMemoryDataset

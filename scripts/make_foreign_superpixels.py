"""Makes three sets of superpixel clouds that no option of the library was chosen on.

python scripts/make_foreign_superpixels.py MNIST_FOLDER [--out runs/foreign] [--digit 8]

Each is a file for `gconvae train --data`: positions on whole pixels, on thirds of a pixel, and
on no lattice (PyG's own cut, ToSLIC). They differ from the bundled set in how images are cut too.
"""

from __future__ import annotations

import argparse
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from make_superpixels import IDX_FILES, read_idx
from torch import Tensor

from gconvae.superpixels import from_images

NUM_POINTS = 25

CUTS = {
    "whole": ({"threshold": 0.0, "oversegmentation": 1.2, "compactness": 0.4}, 1),
    "thirds": ({"threshold": 24 / 256, "oversegmentation": 1.3, "compactness": 0.25}, 3),
}
"""Settings of the cut, and places of a pixel."""

SEGMENTS, COMPACTNESS = 75, 0.5
"""Of PyG's cut, that of whole images; segments without a stroke are left out."""


def on_places(images: npt.NDArray[np.uint8], name: str) -> Tensor:
    """Clouds whose positions are rounded, shape (B, 25, 3)."""
    settings, places = CUTS[name]
    points, mask = from_images(images, NUM_POINTS, **settings, progress=True)
    points[..., :2] = (points[..., :2] * places).round() / places
    return points[mask.all(1)]


def by_pyg(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
    """The 25 brightest segments of an image, or None where it has fewer."""
    from torch_geometric.transforms import ToSLIC

    cut = ToSLIC(n_segments=SEGMENTS, compactness=COMPACTNESS)
    data = cut(torch.from_numpy(image.copy()).float().div(255).unsqueeze(0))
    brightest = data.x[:, 0].sort(descending=True).indices[:NUM_POINTS]
    cloud = torch.cat([data.pos, data.x], dim=1)[brightest]
    return cloud.numpy() if len(cloud) == NUM_POINTS and bool((cloud[:, 2] > 0).all()) else None


def main() -> None:
    """Cuts the images of a digit in three ways and writes them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path, help="folder of the four uncompressed idx files")
    parser.add_argument("--out", type=Path, default=Path("runs/foreign"), help="%(default)s")
    parser.add_argument("--digit", type=int, default=8, help="%(default)s")
    options = parser.parse_args()
    images, labels = (
        np.concatenate([read_idx(options.mnist / names[i]) for names in IDX_FILES.values()])
        for i in (0, 1)
    )
    images = images[labels == options.digit]
    options.out.mkdir(parents=True, exist_ok=True)
    makers = {name: partial(on_places, images, name) for name in CUTS}
    for name, make in makers.items():
        write(options.out / f"{name}.npz", make().numpy())
    with Pool(2) as pool:
        found = [cloud for cloud in pool.map(by_pyg, list(images), 64) if cloud is not None]
    write(options.out / "continuous.npz", np.stack(found))


def write(path: Path, points: npt.NDArray[np.float32]) -> None:
    """One set of clouds."""
    np.savez_compressed(path, points=points)
    print(f"{path}: {len(points):,} clouds", flush=True)


if __name__ == "__main__":
    main()

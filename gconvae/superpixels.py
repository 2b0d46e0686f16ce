"""Grey images to point clouds: superpixels cut inside the stroke, the brightest of them kept."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gconvae.clouds import sort_nodes, unpack

__all__ = ["from_images"]

FloatArray = npt.NDArray[np.floating[Any]]

# images that one task of a worker takes: large enough to hide the cost of sending it
_CHUNK = 256


class _Settings(NamedTuple):
    """How an image is cut, checked once."""

    num_points: int
    threshold: float
    oversegmentation: float
    compactness: float


def from_images(
    images: Any,
    num_points: int = 25,
    *,
    threshold: float = 1 / 16,
    oversegmentation: float = 1.08,
    compactness: float = 0.35,
    num_workers: int = 0,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Cuts each image into superpixels and returns the brightest of them as a cloud.

    The stroke of an image is :math:`S = \{p : I_p > \text{threshold}\}`. SLIC divides it into
    segments :math:`S_k`, none of which holds background, and a node is

    .. math::

        (x, y, I)_k = \frac{1}{|S_k|} \sum_{p \in S_k} (x_p, y_p, I_p).

    The first cut asks for ``oversegmentation * num_points`` segments; as long as fewer than
    ``num_points`` come out, the image is cut again into more. A stroke of at most ``num_points``
    pixels gives one node a pixel. The defaults make MNIST digits resemble the published MNIST
    superpixels; they do not depend on the size of the image.

    Args:
        images: Array or tensor, shape (B, H, W), background 0: uint8, or floats in [0, 1].
        num_points: N, the number of nodes that are kept, brightest first.
        threshold: Intensity in [0, 1) above which a pixel belongs to the stroke; weak pixels
            give the weak nodes at the edge of a stroke.
        oversegmentation: Segments of the first cut for each node that is kept, at least 1; a
            larger one drops more weak segments, so clouds get brighter and more even.
        compactness: Weight of position against intensity in the clustering (the one of
            ``skimage.segmentation.slic``); a larger one makes segments rounder and intensities
            more even.
        num_workers: Processes that share the images, 0 = none but the caller's. They are
            spawned, so a script that asks for them needs ``if __name__ == "__main__":``.
        progress: Whether to draw a progress bar.
    Returns:
        Points (B, N, 3), float32, as (x px across, y px down, intensity in [0, 1]) with the
        centre of the top left pixel at (0, 0), and the mask (B, N), False where an image has
        fewer than N nodes; both on the device of ``images``. The result does not depend on
        ``num_workers``, on the other images or on any random state.
    Raises:
        ValueError: If ``images`` has a wrong shape, dtype or range, is not finite, or has an
            image without stroke; or if a setting is out of its range.
    References:
        | SLIC Superpixels Compared to State-of-the-Art Superpixel Methods (Achanta et al., 2012)
        | maskSLIC: Regional Superpixel Generation with Application to Local Pathology
          Characterisation in Medical Images (Irving, 2016), arXiv:1606.09518
    Example:
        >>> image = np.zeros((28, 28), dtype=np.uint8)
        >>> image[10, 4:6] = 255, 51
        >>> points, mask = from_images(image[None], num_points=3)
        >>> points
        tensor([[[ 4.0000, 10.0000,  1.0000],
                 [ 5.0000, 10.0000,  0.2000],
                 [ 0.0000,  0.0000,  0.0000]]])
        >>> mask
        tensor([[ True,  True, False]])
    """
    settings = _checked_settings(num_points, threshold, oversegmentation, compactness)
    _check_integer(num_workers, "num_workers", 0)
    device = images.device if isinstance(images, Tensor) else torch.device("cpu")
    array = _checked_images(images, settings.threshold)
    points, mask = [], []
    for some_points, some_mask in _cut_chunks(array, settings, num_workers, progress):
        points.append(torch.from_numpy(some_points))
        mask.append(torch.from_numpy(some_mask))
    return torch.cat(points).to(device), torch.cat(mask).to(device)


def _checked_settings(
    num_points: int, threshold: float, oversegmentation: float, compactness: float
) -> _Settings:
    _check_integer(num_points, "num_points", 1)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    if not 1 <= oversegmentation < math.inf:
        raise ValueError(f"oversegmentation must be finite and at least 1, got {oversegmentation}")
    if not 0 < compactness < math.inf:
        raise ValueError(f"compactness must be finite and above 0, got {compactness}")
    return _Settings(num_points, threshold, oversegmentation, compactness)


def _check_integer(value: Any, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def _checked_images(images: Any, threshold: float) -> npt.NDArray[Any]:
    array = _as_array(images)
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"images must be uint8, or floats in [0, 1], got dtype {array.dtype}")
    if array.ndim != 3:
        raise ValueError(f"images must have shape (images, height, width), got {array.shape}")
    if 0 in array.shape:
        raise ValueError(
            f"images must hold at least one image and one pixel, got shape {array.shape}"
        )
    lowest, highest = array.min(axis=(1, 2)), array.max(axis=(1, 2))  # (B,); NaN stays NaN
    bad = np.flatnonzero(~((lowest >= 0) & (highest <= (255 if array.dtype == np.uint8 else 1))))
    if len(bad):
        first = bad[0]
        raise ValueError(
            "images must be finite and in [0, 1] if they are floats, got values from "
            f"{lowest[first]} to {highest[first]} in image {first} ({len(bad)} such images)"
        )
    empty = np.flatnonzero(~(_intensity(highest) > threshold))
    if len(empty):
        raise ValueError(
            f"images must have a pixel above the threshold {threshold:.4g}, image {empty[0]} "
            f"has none ({len(empty)} such images)"
        )
    return array


def _as_array(images: Any) -> npt.NDArray[Any]:
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        # numpy has no bfloat16
        images = (images.float() if images.is_floating_point() else images).numpy()
    try:
        array: npt.NDArray[Any] = np.asarray(images)
    except ValueError as error:
        raise ValueError(
            f"images must be an array or a tensor of numbers, got {type(images).__name__}: {error}"
        ) from None
    return array


def _intensity(values: npt.NDArray[Any]) -> FloatArray:
    """Pixel values to float32 in [0, 1]: uint8 and floats of any width give the same numbers."""
    scale = 255 if values.dtype == np.uint8 else 1
    return values.astype(np.float32) / np.float32(scale)


def _cut_chunks(
    images: npt.NDArray[Any], settings: _Settings, num_workers: int, progress: bool
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    with _progress_bar(len(images), progress) as bar:
        for cut in _mapped(chunks, settings, num_workers):
            bar.update(len(cut[0]))
            yield cut


def _mapped(
    chunks: list[npt.NDArray[Any]], settings: _Settings, num_workers: int
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    if num_workers == 0:
        yield from (_cut_chunk(chunk, settings) for chunk in chunks)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # a fork of a process that has torch's threads may hang
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_cut_chunk, chunks, [settings] * len(chunks))


def _progress_bar(total: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="superpixels", unit="image", disable=not progress)


def _cut_chunk(
    images: npt.NDArray[Any], settings: _Settings
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Images (B, H, W) to clouds, padded: points (B, N, 3) and mask (B, N)."""
    with warnings.catch_warnings():
        # maskSLIC places its seeds by k-means; a seed that loses its pixels stays where it was
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        clouds = [_cut(image, settings) for image in _intensity(images)]
    counts = torch.tensor([len(cloud) for cloud in clouds], device="cpu")  # (B,)
    nodes = torch.from_numpy(np.concatenate(clouds))  # (P, 3)
    batch = torch.arange(len(clouds), device="cpu").repeat_interleave(counts)  # (P,)
    num_nodes = max(settings.num_points, int(counts.max()))
    points, mask = sort_nodes(*unpack(nodes, batch, len(clouds), num_nodes))
    kept = slice(settings.num_points)
    return points[:, kept].numpy(), mask[:, kept].numpy()


def _cut(image: FloatArray, settings: _Settings) -> FloatArray:
    """All superpixels of an image (H, W) as nodes (M, 3), in no order, M >= N where possible."""
    from skimage.segmentation import slic

    stroke = image > settings.threshold  # (H, W)
    num_pixels = int(stroke.sum())
    # one segment has no distance to a next one, by which SLIC scales positions
    num_segments = max(2, math.ceil(settings.oversegmentation * settings.num_points))
    while num_segments < num_pixels:
        segments = slic(
            image,
            n_segments=num_segments,
            compactness=settings.compactness,
            mask=stroke,
            channel_axis=None,
        )
        nodes = _nodes(image, segments)
        if len(nodes) >= settings.num_points:
            return nodes
        num_segments += settings.num_points - len(nodes)
    pixels = np.zeros(image.shape, dtype=np.int64)
    pixels[stroke] = np.arange(1, num_pixels + 1)
    return _nodes(image, pixels)


def _nodes(image: FloatArray, segments: npt.NDArray[np.int64]) -> FloatArray:
    """Means of (x, y, intensity) over each segment (M, 3); label 0 is background."""
    labels = segments.reshape(-1)  # (H*W,)
    y, x = np.divmod(np.arange(labels.size), image.shape[1])
    sums = [np.bincount(labels, weights) for weights in (x, y, image.reshape(-1))]
    sizes = np.bincount(labels)
    sizes[0] = 0
    real = sizes > 0  # joining small segments leaves labels without a pixel
    means = np.stack(sums, axis=1)[real] / sizes[real, None]  # (M, 3)
    return means.astype(np.float32)

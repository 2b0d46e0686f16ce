"""Whatever holds numbers - arrays, lists, masked and nested tensors - as one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Padded", "as_padded", "as_tensor"]

EXACT = 2**24
"""Whole numbers up to which float32 has every one."""

COARSE = 1e-4
"""Share of a feature's spread by which float32 may miss its values."""


class Padded(NamedTuple):
    """Numbers and where there are some.

    Attributes:
        points: Floating point, shape (B, N, F).
        mask: True where a node is real, shape (B, N); None = nothing was hidden.
    """

    points: Tensor
    mask: Tensor | None


def as_padded(points: Any, name: str) -> Padded:
    """Clouds as one tensor of floats.

    Taken are a tensor or an array (B, N, F), a sequence of clouds (n_i, F) of any sizes, numpy's
    masked arrays, torch's masked and nested tensors. A node that a mask hides is not real. Whole
    numbers become floats that have each of them.

    Args:
        points: The clouds.
        name: What error messages call them.
    Raises:
        ValueError: If it holds no numbers, its clouds have no common number of features, or a
            mask hides some features of a node and not the others.
    Example:
        >>> as_padded([[[1, 2]], [[3, 4], [5, 6]]], "points").mask
        tensor([[ True, False],
                [ True,  True]])
    """
    if isinstance(points, np.ma.MaskedArray):
        shown = ~np.ma.getmaskarray(points)
        return _hiding(as_floats(points.filled(0), name), torch.from_numpy(shown.copy()), name)
    if _is_masked_tensor(points):
        # its own getters warn that it is a prototype
        return _hiding(as_floats(points._masked_data, name), points._masked_mask, name)
    if isinstance(points, Tensor) and points.is_nested:
        return _ragged(list(points.unbind()), name)
    if _is_sequence_of_clouds(points):
        return _ragged(list(points), name)
    return Padded(as_floats(points, name), None)


def as_floats(values: Any, name: str) -> Tensor:
    """Numbers as a floating-point tensor, whole ones too."""
    tensor = as_tensor(values, name)
    if tensor.is_floating_point():
        # numpy, which finds schemas, knows no bfloat16
        return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise ValueError(f"{name} must hold real numbers, got dtype {tensor.dtype}")
    is_small = tensor.numel() == 0 or int(tensor.abs().max()) <= EXACT
    return tensor.to(torch.float32 if is_small else torch.float64)


def as_tensor(values: Any, name: str) -> Tensor:
    """An array, a sequence or a tensor as a tensor, on its own device.

    Raises:
        ValueError: If it holds no numbers.
    Example:
        >>> as_tensor([[1.5, 2.0]], "points").dtype
        torch.float32
    """
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, list | tuple) and any(isinstance(v, Tensor) for v in values):
            return torch.stack([torch.as_tensor(value, device="cpu") for value in values])
        array = np.asarray(values)
        if array.dtype == object and array.ndim:
            array = np.array(array.tolist(), dtype=np.float64)
        elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        elif array.dtype.kind == "u" and array.dtype.itemsize < 8:
            array = array.astype(np.int64)  # torch knows no more of unsigned ones than their bits
        if array.dtype == np.float64 and not hasattr(values, "__array__"):
            array = _single(array)
        # torch takes only writable arrays with strides above 0 in this machine's byte order
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be a tensor or an array of numbers, got {type(values).__name__}: {error}"
        ) from None


def _single(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Nested lists, which carry no dtype of their own, in float32 where it tells them apart."""
    if array.ndim == 0 or array.size == 0:
        return array.astype(np.float32)
    with np.errstate(all="ignore"):
        columns = array.reshape(-1, array.shape[-1])
        lost = np.abs(columns.astype(np.float32) - columns).max(0)
        told_apart = (lost <= COARSE * np.ptp(columns, axis=0)) | (np.ptp(columns, axis=0) == 0)
    return array.astype(np.float32) if told_apart.all() else array


def _is_masked_tensor(value: Any) -> bool:
    return type(value).__name__ == "MaskedTensor"


def _is_sequence_of_clouds(points: Any) -> bool:
    """Whether each entry is a cloud of its own, of another size than others or as an array."""
    if isinstance(points, np.ndarray):
        return points.dtype == object and points.ndim == 1 and len(points) > 0
    if not isinstance(points, Sequence) or isinstance(points, str) or len(points) == 0:
        return False
    arrays = sum(hasattr(cloud, "ndim") for cloud in points)
    lists = sum(isinstance(c, Sequence) and not isinstance(c, str) for c in points)
    if arrays == len(points):
        return True
    if arrays + lists < len(points):
        return False
    return arrays > 0 or len({len(cloud) for cloud in points}) > 1


def _ragged(clouds: list[Any], name: str) -> Padded:
    tensors = [_shown(cloud, f"{name}[{i}]") for i, cloud in enumerate(clouds)]
    for i, cloud in enumerate(tensors):
        if cloud.dim() != 2 or cloud.shape[1] != tensors[0].shape[-1]:
            raise ValueError(
                f"{name} must hold clouds (nodes, features) with the same features each, "
                f"got {tuple(cloud.shape)} in cloud {i} and {tuple(tensors[0].shape)} in cloud 0"
            )
    dtype = max((cloud.dtype for cloud in tensors), key=lambda kind: torch.finfo(kind).bits)
    sizes = torch.tensor([len(cloud) for cloud in tensors], device="cpu")  # (B,)
    points = tensors[0].new_zeros(len(tensors), int(sizes.max()), tensors[0].shape[1], dtype=dtype)
    mask = torch.arange(points.shape[1], device="cpu") < sizes.unsqueeze(1)  # (B, N)
    mask = mask.to(points.device)
    points[mask] = torch.cat([cloud.to(dtype) for cloud in tensors])
    return Padded(points, mask)


def _shown(cloud: Any, name: str) -> Tensor:
    """The nodes of one cloud that no mask hides, shape (n, F)."""
    if isinstance(cloud, np.ma.MaskedArray) or _is_masked_tensor(cloud):
        nodes, mask = as_padded(cloud, name)
        assert mask is not None
        return nodes[mask]
    return as_floats(cloud, name)


def _hiding(points: Tensor, shown: Tensor, name: str) -> Padded:
    """Nodes of which no feature is hidden, and those of which all are."""
    if shown.dim() < 2:
        raise ValueError(f"{name} must have shape (clouds, nodes, features), got {shown.shape}")
    mask = shown.all(-1)
    partly = (shown.any(-1) & ~mask).nonzero()
    if len(partly):
        raise ValueError(
            f"{name} must be masked node by node, got a node of which only some features are "
            f"hidden at {partly[0].tolist()} ({len(partly)} such nodes)"
        )
    return Padded(points.masked_fill(~mask.unsqueeze(-1), 0.0), mask)

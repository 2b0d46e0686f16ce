"""A step of a training as one CUDA graph: recorded once, then started as a whole.

On a GPU a small network waits for Python, which starts some hundred operations a step one by one.
A graph does the same operations with the same numbers, to the same bits, and is started at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Recorder", "recordable", "recording"]


class Recorder:
    """A function of tensors, of which every further call with the same shapes is a recorded one.

    The function must do all its work on one GPU, never wait for it, and leave results in tensors
    that were there before it. It must count nothing in Python, and choose nothing by a number that
    changes: a recorded call runs none of its lines. Where recording fails, a warning says why, and
    from then on the function runs operation by operation.

    Args:
        function: Called with the tensors of :meth:`__call__`.
        device: Where it runs; on a CPU nothing is recorded.
    Example:
        >>> total = torch.zeros(2)
        >>> add = Recorder(lambda x: total.add_(x), "cpu")
        >>> add(torch.ones(2)), add(torch.ones(2)), total
        (None, None, tensor([2., 2.]))
    """

    def __init__(self, function: Callable[..., object], device: torch.device | str) -> None:
        self.function = function
        self.records = torch.device(device).type == "cuda"
        self._stream = torch.cuda.Stream(device) if self.records else None
        self._met: set[Any] = set()
        self._graphs: dict[Any, tuple[list[Tensor | None], torch.cuda.CUDAGraph]] = {}
        self._pool: Any = None

    def __call__(self, *tensors: Tensor | None) -> None:
        """Runs the function, or starts its graph.

        Args:
            tensors: Those on the CPU are brought to the GPU.
        """
        if self._stream is None:
            self.function(*tensors)
            return
        if not self.records:
            self._directly(tensors)
            return
        key = tuple(None if part is None else (part.shape, part.dtype) for part in tensors)
        if key not in self._graphs:
            if key not in self._met:  # the first time kernels are chosen and memory is laid out
                self._met.add(key)
                self._directly(tensors)
                return
            if not self._record(key, tensors):
                self._directly(tensors)
                return
        held, graph = self._graphs[key]
        for ours, theirs in zip(held, tensors, strict=True):
            if ours is not None and theirs is not None:
                ours.copy_(theirs, non_blocking=True)
        graph.replay()

    def _directly(self, tensors: tuple[Tensor | None, ...]) -> None:
        assert self._stream is not None
        # beside the main stream, as it will be recorded
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self.function(*(_on(part, self._stream.device) for part in tensors))
        torch.cuda.current_stream().wait_stream(self._stream)

    def _record(self, key: Any, tensors: tuple[Tensor | None, ...]) -> bool:
        assert self._stream is not None
        device = self._stream.device
        held = [
            None if part is None else torch.empty_like(part, device=device) for part in tensors
        ]
        for ours, theirs in zip(held, tensors, strict=True):
            if ours is not None and theirs is not None:
                ours.copy_(theirs)
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                self.function(*held)
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # which some versions of torch leave undone
            self.records = False
            self._graphs.clear()
            cause = error.__context__ or error  # the end of the recording fails too
            warnings.warn(
                "a step cannot be recorded as a CUDA graph and runs operation by operation, "
                f"which is slower: {str(cause).splitlines()[0]}",
                stacklevel=2,
            )
            return False
        self._pool = graph.pool()
        self._graphs[key] = held, graph
        return True

    def forget(self) -> None:
        """Gives the memory of the graphs back."""
        self._graphs.clear()
        self._pool = None


def recordable(*parts: nn.Module) -> bool:
    """Whether parts of a model may be recorded: each class says so itself, not one it stems from.

    One that says ``recordable = True`` does the same operations on the GPU in every step. It
    counts no steps, draws no random numbers on the CPU, and never looks at a value: no
    ``.item()``, no ``if x.max() > 0``, no mask as an index.

    Args:
        parts: Encoder, decoder and loss.
    Example:
        >>> class Own(nn.Module):
        ...     recordable = True
        >>> recordable(Own()), recordable(Own(), nn.Linear(2, 2))
        (True, False)
    """
    return all("recordable" in vars(type(part)) and part.recordable for part in parts)


def recording(tensor: Tensor) -> bool:
    """Whether a graph is being recorded or exported, in which no value can be looked at.

    Args:
        tensor: One that the work is done with.
    Example:
        >>> recording(torch.zeros(1))
        False
    """
    captured = tensor.is_cuda and torch.cuda.is_current_stream_capturing()
    return captured or torch.compiler.is_exporting()


def _on(part: Tensor | None, device: torch.device) -> Tensor | None:
    return None if part is None else part.to(device)

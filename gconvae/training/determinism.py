"""Settings of torch and the process that a training needs, and gives back."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gconvae.caller_state import Shared

__all__ = ["deterministic", "quiet_lightning"]


@contextmanager
def deterministic(threads: int | None) -> Iterator[None]:
    """Deterministic algorithms and the wanted threads inside the block, as before after it.

    Several threads may train at once; what the process had is set again after the last of them.
    """
    had_threads = torch.get_num_threads()
    with _DETERMINISTIC.held():
        torch.set_num_threads(threads or had_threads)
        try:
            with _convolutions_in_float32():
                yield
        finally:
            torch.set_num_threads(had_threads)


def _determinism() -> Callable[[], None]:
    was_on = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    had_workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS wants it for reproducible sums
    torch.use_deterministic_algorithms(True)
    # nothing here reads memory that was not written; filling it costs a tenth of a training step
    settings.fill_uninitialized_memory = False

    def restore() -> None:
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        settings.fill_uninitialized_memory = filled
        if had_workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = had_workspace

    return restore


_DETERMINISTIC = Shared(_determinism)


@contextmanager
def _convolutions_in_float32() -> Iterator[None]:
    """Not in TF32, which cuDNN takes where nobody forbids it, but not torch's matrix products."""
    try:
        allowed = torch.cuda.is_available() and torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set operation by operation, by somebody who knows what to want
        allowed = False
    if not allowed:
        yield
        return
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = True


def _quiet() -> Callable[[], None]:
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    filters, levels = warnings.filters, [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    before = list(filters)
    # the clouds lie in memory, so worker processes would only cost time
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # what a stage does not train is in eval mode, and what is fitted at once has no optimizer
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message=".*configure_optimizers. returned .None.*")
    # Lightning 2.6 uses a part of torch 2.15's pytree that torch deprecates
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # of kernels with one channel, whose gradients torch lays out in another way; it costs nothing
    warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view.*")
    ours = [entry for entry in filters if entry not in before]

    def restore() -> None:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for entry in ours:
            if entry in warnings.filters:
                warnings.filters.remove(entry)  # type: ignore[attr-defined]  # it is a list

    return restore


quiet_lightning = Shared(_quiet).held
"""Silences Lightning's hints that do not apply here; errors and all other warnings pass."""

"""A part of a model as a program of torch, without a word of torch's own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch.export import Dim, ExportedProgram

from gconvae.caller_state import neutral
from gconvae.export.parts import Encoder, Sampler

__all__ = ["named_error", "quiet", "traced"]

EXAMPLES = 3
"""Clouds that are traced: 0 and 1 would be taken for numbers that never change."""


def traced(part: Encoder | Sampler) -> ExportedProgram:
    """The operations of a part, for any number of clouds.

    Args:
        part: From :func:`gconvae.export.parts.part_of`.
    Raises:
        ValueError: If one of its modules looks at a number, or has shapes that depend on one.
    """
    random = torch.Generator().manual_seed(0)
    example = tuple(port.random(EXAMPLES, random) for port in part.inputs)
    shapes = tuple({0: Dim.DYNAMIC} for _ in part.inputs)
    # a module with *args has one entry for all of them
    dynamic = (shapes,) if isinstance(part, Sampler) else shapes
    with neutral(), torch.no_grad(), quiet(), named_error(part, "torch.export"):
        return torch.export.export(part, example, dynamic_shapes=dynamic, strict=False)


@contextmanager
def named_error(part: Encoder | Sampler, target: str) -> Iterator[None]:
    """Turns whatever an exporter raises into one error that names the modules.

    Args:
        part: What is exported.
        target: What to.
    Raises:
        ValueError: In the place of any other error.
    """
    try:
        yield
    except Exception as error:  # exporters raise dozens of kinds, all of them our user's one
        model = part.model
        kinds = ("encoder",) if isinstance(part, Encoder) else ("prior", "decoder", "likelihood")
        names = ", ".join(f"{kind} {type(getattr(model, kind)).__name__}" for kind in kinds)
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lines = [line for line in str(cause).splitlines() if line.strip()]
        reason = lines[0] if lines else type(cause).__name__
        message = f"model must have parts that {target} knows, got {names}: {reason}"
        raise ValueError(message) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Inside the block, exporters neither print, nor warn, nor log below an error."""
    names = ("torch", "torch.onnx", "torch.onnx._internal", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        unread = StringIO()
        with warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)

"""A GPU's graphs on a CPU: a recording notes operations, and a replay repeats these alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gconvae.cuda_graphs import Recorder
from gconvae.training.engine import Engine

__all__ = ["StandIn", "record_trainings"]

WAITING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
}
"""Operations that look at values, for which a GPU would have to be waited for."""


class Noted(TorchDispatchMode):
    """Notes operations and what they gave; in the end all that was there before is as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[tuple[Any, Any, Any, list[Any]]] = []
        self.before: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        draws = any(isinstance(part, torch.Generator) for part in tree_leaves((args, kwargs)))
        if draws or function in WAITING:
            raise RuntimeError(f"{function} cannot be recorded")
        for part in written(function, args, kwargs):
            storage = part.untyped_storage()
            self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        made = function(*args, **kwargs)
        self.work.append((function, args, kwargs, tree_leaves(made)))
        return made

    def undo(self) -> None:
        for storage, values in self.before.values():
            storage.copy_(values)

    @torch.no_grad()
    def repeat(self) -> None:
        for function, args, kwargs, made in self.work:
            for ours, new in zip(made, tree_leaves(function(*args, **kwargs)), strict=True):
                # views, and what is written in place, are where they were
                if isinstance(ours, Tensor) and place(ours) != place(new):
                    ours.copy_(new)


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def written(function: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """Tensors that an operation writes into."""
    for number, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[number] if number < len(args) else kwargs.get(argument.name)
            yield from (part for part in tree_leaves(given) if isinstance(part, Tensor))


class StandIn:
    """What ``torch.cuda`` has for graphs, with the CPU in the place of a GPU.

    Attributes:
        is_recording: Whether a graph is being recorded.
        recorded: Graphs so far.
        replayed: Starts of graphs so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_recording, self.recorded, self.replayed = False, 0, 0
        stand_in = self
        stream = SimpleNamespace(device=torch.device("cpu"), wait_stream=lambda other: None)
        main = SimpleNamespace(device=torch.device("cpu"), wait_stream=lambda other: None)
        self.streams = [main]

        class Graph:
            def __init__(self) -> None:
                self.noted = Noted()

            def replay(self) -> None:
                stand_in.replayed += 1
                self.noted.repeat()

            def pool(self) -> str:
                return "pool"

        class Recording:
            def __init__(self, graph: Graph, **options: Any) -> None:
                self.noted, self.stream = graph.noted, options["stream"]

            def __enter__(self) -> None:
                stand_in.is_recording = True
                stand_in.streams.append(self.stream)
                self.noted.__enter__()

            def __exit__(self, kind: Any, *error: Any) -> None:
                self.noted.__exit__(kind, *error)
                self.noted.undo()
                stand_in.is_recording = False
                if kind is not None:  # as torch does, and without leaving the stream
                    raise RuntimeError("the end of the recording fails too")
                stand_in.recorded += 1
                stand_in.streams.pop()

        for name, value in {
            "Stream": lambda device: stream,
            "current_stream": lambda: self.streams[-1],
            "set_stream": self.streams.append,
            "stream": lambda stream: contextlib.nullcontext(),
            "graph": Recording,
            "CUDAGraph": Graph,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        modules = (
            *("conditioning.context", "losses.pairs", "neighbors.packed"),
            *("likelihoods.autoregressive", "training.stages.reconstructions"),
        )
        for module in modules:
            monkeypatch.setattr(f"gconvae.{module}.recording", lambda tensor: self.is_recording)


def record_trainings(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Has stages record their steps, as they would on a GPU, where their steps allow it."""
    made, started = Recorder.__init__, Engine.run

    def record(recorder: Recorder, function: Any, device: Any) -> None:
        made(recorder, function, "cuda")

    def run(engine: Engine, stage: Any, **given: Any) -> None:
        stage.record()
        started(engine, stage, **given)

    monkeypatch.setattr(Recorder, "__init__", record)
    monkeypatch.setattr(Engine, "run", run)
    return StandIn(monkeypatch)

"""Processes that torchrun or srun started side by side, and what they send to the first one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Processes"]

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """How many processes share a piece of work, and which of them this is.

    Attributes:
        rank: From 0 on; the first one collects and writes.
        size: How many.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def started(cls) -> Processes:
        """Those that torchrun, or srun within a job of SLURM, started; one where neither did.

        Example:
            >>> Processes.started()
            Processes(rank=0, size=1)
        """
        for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
            if rank in os.environ and size in os.environ:
                return cls(int(os.environ[rank]), int(os.environ[size]))
        return cls()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """They know each other inside the block, and wait for each other at its end."""
        import torch.distributed as distributed

        if self.size == 1:
            yield
            return
        if "MASTER_ADDR" not in os.environ:
            from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

            job = SLURMEnvironment()
            os.environ |= {"MASTER_ADDR": job.main_address, "MASTER_PORT": str(job.main_port)}
        distributed.init_process_group("gloo", rank=self.rank, world_size=self.size)
        try:
            yield
            distributed.barrier()
        finally:
            distributed.destroy_process_group()

    def collected(self, own: Iterator[T]) -> Iterator[T]:
        """What was dealt out in turns, in its order, in the first process; nothing in the others.

        Args:
            own: This process's part: of results 0, 1, 2, ... those from its rank on, one in every
                ``size``.
        """
        if self.size == 1:
            yield from own
        elif self.rank > 0:
            for result in own:
                self._send(result)
            self._send(None)
        else:
            yield from self._received(own)

    def everywhere(self, own: Iterator[T]) -> list[T]:
        """All that was dealt out, in its order, in every process.

        Args:
            own: As of :meth:`collected`.
        """
        return self.shared(list(self.collected(own)))

    def shared(self, value: T) -> T:
        """The first process's value, in every process."""
        import torch.distributed as distributed

        if self.size == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0)
        result: T = box[0]
        return result

    def _received(self, own: Iterator[T]) -> Iterator[T]:
        rank = 0
        while True:
            result = next(own, None) if rank == 0 else self._from(rank)
            if result is None:  # so are those that would come after it
                break
            yield result
            rank = (rank + 1) % self.size
        for other in range(1, self.size):  # each says once that it has no more
            if other != rank:
                self._from(other)

    @staticmethod
    def _send(result: Any) -> None:
        import torch.distributed as distributed

        distributed.send_object_list([result], dst=0)

    @staticmethod
    def _from(rank: int) -> Any:
        import torch.distributed as distributed

        box: list[Any] = [None]
        distributed.recv_object_list(box, src=rank)
        return box[0]

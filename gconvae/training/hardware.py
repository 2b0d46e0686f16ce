"""Where a training runs: kind of device, processes, machines, and which of them this is."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

__all__ = ["Hardware"]


@dataclass(frozen=True)
class Hardware:
    """Where stages run; the words are Lightning's.

    Attributes:
        accelerator: ``"cpu"`` or ``"gpu"``.
        devices: Processes of this machine that share each batch; a list names GPUs.
        num_nodes: Machines.
        strategy: How they share it.
    """

    accelerator: str = "cpu"
    devices: int | list[int] = 1
    num_nodes: int = 1
    strategy: Any = "auto"

    @property
    def local_processes(self) -> int:
        """Processes of this machine."""
        return len(self.devices) if isinstance(self.devices, list) else self.devices

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.local_processes * self.num_nodes

    @property
    def rank(self) -> int:
        """Which of them this is, before any of them is asked; 0 where there is one."""
        if self.world_size == 1:
            return 0
        for name in ("RANK", "SLURM_PROCID"):
            if name in os.environ:
                return int(os.environ[name])
        local, node = (int(os.environ.get(name, 0)) for name in ("LOCAL_RANK", "NODE_RANK"))
        return node * self.local_processes + local

    def alone(self) -> Hardware:
        """One process, for what each does by itself."""
        devices: int | list[int] = 1
        if isinstance(self.devices, list) and len(self.devices) == 1:
            devices = self.devices
        return dataclasses.replace(self, devices=devices, num_nodes=1, strategy="auto")

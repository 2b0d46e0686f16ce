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
        strategy: How they share it: ``"auto"``, ``"ddp"`` and its variants, or an object.
    Raises:
        ValueError: If the strategy would start processes that send nothing back, or cut up the
            weights, of which the run folder has all.
    """

    accelerator: str = "cpu"
    devices: int | list[int] = 1
    num_nodes: int = 1
    strategy: Any = "auto"

    def __post_init__(self) -> None:
        """Refuses strategies that lose results; several processes are ``"ddp"`` by default."""
        if self.strategy == "auto" and self.world_size > 1:
            object.__setattr__(self, "strategy", "ddp")
        name = self.strategy if isinstance(self.strategy, str) else type(self.strategy).__name__
        starts = getattr(self.strategy, "_start_method", "popen")
        words = name.lower()
        is_known = words == "auto" or words.startswith(("ddp", "singledevice"))
        if not is_known or starts != "popen" or any(w in words for w in ("spawn", "fork", "note")):
            raise ValueError(
                "strategy must be auto, ddp, ddp_find_unused_parameters_true or a DDPStrategy, "
                f"whose processes run the whole script, got {self.strategy!r}"
            )

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

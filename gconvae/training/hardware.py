"""Where a training runs: kind of device, processes, machines, and which of them this is."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Hardware"]

STRATEGIES = (
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
)
"""Names of those whose processes run the whole script and send their gradients only."""


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
            weights, of which the run folder has all; or if a list names CPUs.
    """

    accelerator: str = "cpu"
    devices: int | list[int] = 1
    num_nodes: int = 1
    strategy: Any = "auto"

    def __post_init__(self) -> None:
        """Refuses what loses results or cannot be; several processes are ``"ddp"`` by default."""
        if self.strategy == "auto" and self.world_size > 1:
            object.__setattr__(self, "strategy", "ddp")
        name = self.strategy if isinstance(self.strategy, str) else type(self.strategy).__name__
        starts = getattr(self.strategy, "_start_method", "popen")
        words = name.lower()
        is_known = words == "auto" or words.startswith(("ddp", "singledevice"))
        if isinstance(self.strategy, str):
            is_known = words == "auto" or (is_known and words in STRATEGIES)
        if not is_known or starts != "popen" or any(w in words for w in ("spawn", "fork", "note")):
            raise ValueError(
                "strategy must be auto, ddp, ddp_find_unused_parameters_true or a DDPStrategy, "
                f"whose processes run the whole script, got {self.strategy!r}"
            )

        if isinstance(self.devices, list) and self.accelerator == "cpu":
            raise ValueError(
                f"devices must be a number on the CPU, a list names GPUs, got {self.devices}"
            )

    def check_script(self) -> None:
        """Refuses several processes where there is no script that the others could run.

        Raises:
            ValueError: If Lightning would have to start them from a notebook, for instance.
        """
        if self.world_size > 1 and not _is_started() and not _can_be_run_again():
            raise ValueError(
                f"devices must be 1 where no file runs that {self.world_size} processes could "
                "run, as in a notebook, in python -c or on standard input: put the training "
                "into a script"
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


def _is_started() -> bool:
    """Whether torchrun, srun or the first process of a training started this one."""
    return any(name in os.environ for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def _can_be_run_again() -> bool:
    """Whether this program is a file or a module, which other processes can run too."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:
        return True
    return not hasattr(sys, "ps1") and Path(sys.argv[0]).is_file()

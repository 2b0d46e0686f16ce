"""Processes side by side for tests, started as torchrun starts them, without a new import each."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Begun", "Ended", "Starter", "starter"]

SERVER = """
import importlib, json, multiprocessing, os, sys, warnings

sys.path[:0] = json.loads(sys.argv[1])
warnings.filterwarnings("ignore", category=FutureWarning)
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
fork = multiprocessing.get_context("fork")


def begin(rank, job):
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if job["world"] > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job["world"]), GROUP_RANK="0",
            LOCAL_WORLD_SIZE=str(job["world"]), TORCHELASTIC_RUN_ID="test",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(job["port"]),
        )
    work = getattr(importlib.import_module(job["module"]), job["function"])
    sys.exit(work(rank, **job["arguments"]))


for line in sys.stdin:
    job = json.loads(line)
    processes = [fork.Process(target=begin, args=(rank, job)) for rank in range(job["world"])]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    print(json.dumps({"number": job["number"], "codes": codes}), flush=True)
"""


class Ended(NamedTuple):
    """How processes ended.

    Attributes:
        codes: Their exit codes, that of a signal below 0.
        out: What they printed, together.
        err: On their error streams.
    """

    codes: list[int]
    out: str
    err: str


class Begun:
    """Processes that run while the test goes on.

    Args:
        server: The process that started them.
        number: Of the job, which its answer has too.
        files: What they print into, ``out`` and ``err``.
    """

    def __init__(self, server: subprocess.Popen[str], number: int, files: dict[str, Path]) -> None:
        self.server, self.number, self.files = server, number, files

    def runs(self) -> bool:
        """Whether any of them still does."""
        assert self.server.stdout is not None
        return not select.select([self.server.stdout], [], [], 0)[0]

    def wait(self) -> Ended:
        """Their end; to be asked for once, and before others are begun."""
        assert self.server.stdout is not None
        answer = json.loads(self.server.stdout.readline())
        while answer["number"] < self.number:  # of a test that failed before it waited
            answer = json.loads(self.server.stdout.readline())
        said = {
            name: file.read_text() if file.exists() else "" for name, file in self.files.items()
        }
        return Ended(answer["codes"], said["out"], said["err"])


class Starter:
    """Starts processes by forking one that has imported everything.

    Args:
        server: That process.
        folder: For what they print.
    """

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self.server, self.folder, self.number = server, folder, 0

    def __call__(self, world: int, work: str, **arguments: Any) -> Ended:
        """Runs ``module.function(rank, **arguments)`` in so many processes.

        Args:
            world: How many.
            work: Module and function.
            arguments: Plain ones.
        """
        return self.begin(world, work, **arguments).wait()

    def begin(self, world: int, work: str, **arguments: Any) -> Begun:
        """The same without waiting for their end.

        Args:
            world: How many.
            work: Module and function.
            arguments: Plain ones.
        """
        assert self.server.stdin is not None
        self.number += 1
        files = {name: self.folder / f"{self.number}.{name}" for name in ("out", "err")}
        module, _, function = work.rpartition(".")
        job = {"world": world, "module": module, "function": function, "arguments": arguments}
        job |= {name: str(file) for name, file in files.items()}
        job |= {"number": self.number, "port": free_port()}
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return Begun(self.server, self.number, files)


@contextmanager
def starter(folder: Path, *preloaded: str) -> Iterator[Starter]:
    """A :class:`Starter` for the block.

    Args:
        folder: For what its processes print.
        preloaded: Modules that are imported once.
    """
    tests = Path(__file__).parent
    paths = [str(tests.parent), str(tests)]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(paths), json.dumps(preloaded)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:  # closes its input, which ends it, and waits
        yield Starter(server, folder)


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])

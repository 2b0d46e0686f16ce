"""The SLURM script of the examples: bash reads it, and gconvae understands its command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gconvae.cli import main as cli

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "slurm" / "sweep_array.sh"
URL = "postgresql://me@dbserver/sweeps"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash is installed")


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the script with a ``gconvae`` that prints its words, one a line."""
    stand_in = folder / "gconvae"
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPT)],
        env={"PATH": path, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_bash_reads_the_script() -> None:
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_gconvae_understands_the_command_of_a_job(tmp_path: Path) -> None:
    done = run(tmp_path, STORAGE=URL, SLURM_SUBMIT_DIR="/shared", SLURM_CPUS_PER_TASK="4")
    assert done.returncode == 0, done.stderr
    options = cli.parser().parse_args(cli.with_dashes(done.stdout.splitlines())).sweep
    assert options.options == ["beta=0.03,0.1,0.3,1", "learning_rate=3e-4,1e-3"]
    assert (options.storage, options.out, options.threads) == (URL, "/shared/runs/beta", 4)


def test_every_job_of_the_array_is_the_same_command(tmp_path: Path) -> None:
    first, second = (run(tmp_path, STORAGE=URL, SLURM_ARRAY_TASK_ID=i).stdout for i in "12")
    assert first == second != ""


def test_without_a_database_the_job_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode != 0
    assert "STORAGE: must be the URL of a database" in done.stderr


def test_slurm_finds_its_options_before_the_first_command() -> None:
    lines = SCRIPT.read_text().splitlines()
    head = lines[: lines.index("set -euo pipefail")]
    assert all(line.startswith("#") for line in head)
    found = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", "\n".join(head), re.MULTILINE))
    assert sum(line.startswith("#SBATCH") for line in lines) == len(found)
    assert {"array", "time", "requeue", "output"} <= found.keys()
    assert "%a" in found["output"]  # a log a job


def test_the_page_of_sweeps_shows_the_script() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text()
    assert "```{literalinclude} ../examples/slurm/sweep_array.sh" in page


@pytest.mark.parametrize(
    ("script", "starter", "before", "begun"),
    [
        ("train.sh", "srun", "gconvae", False),
        ("train.sh", "srun", "gconvae", True),
        ("torchrun.sh", "torchrun", "gconvae.cli", False),
    ],
)
def test_gconvae_understands_what_several_machines_train(
    tmp_path: Path, script: str, starter: str, before: str, begun: bool
) -> None:
    stand_in = tmp_path / starter
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    if begun:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "manifest.json").touch()
    done = subprocess.run(
        ["bash", str(SCRIPT.with_name(script))],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "MASTER": "a", "MACHINE": "0"}
        | {"RUN": "run", "DATA": "own.h5"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.splitlines()
    options = cli.parser().parse_args(words[words.index(before) + 1 :]).train
    assert (options.devices, options.num_nodes, options.accelerator) == (4, 2, "gpu")
    assert options.data == "own.h5"
    assert (options.resume, options.out) == (("run", None) if begun else (None, "run"))

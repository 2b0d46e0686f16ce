"""All tables and figures of docs/fidelity.md, and the leaderboard of likelihoods, anew.

Run: python scripts/renew_fidelity.py [--runs runs/fidelity] [--only NAME ...] [--seeds 3]
Tables go to docs/tables/NAME.md, which the pages include, figures to docs/figures/fidelity. From
nothing it takes some 30 hours of one core; each benchmark keeps what it has found in its folder
under --runs and goes on when started again, and started by hand with the same --out and other
seeds (--first), a second process shares the work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from gconvae import files

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "docs" / "tables"

COMMANDS = {
    "eights": ["benchmarks/fidelity.py"],
    "threes": ["benchmarks/fidelity.py", "--digit", "3", "--lines", "convae-flow"],
    "zeros": ["benchmarks/fidelity.py", "--digit", "0", "--lines", "convae-flow"],
    "digits": ["benchmarks/digits.py"],
    "ablation-eights": ["benchmarks/ablation.py", "--digit", "8"],
    "ablation-digits": ["benchmarks/ablation.py", "--digit", "all"],
    "foreign": ["benchmarks/foreign.py", "{foreign}"],
    "likelihoods": ["examples/compare_variants.py", "--list", "likelihoods"],
}
"""What prints each table; {foreign} is the folder of scripts/make_foreign_superpixels.py."""

FOLDERS = {"threes": "eights", "zeros": "eights", "ablation-digits": "ablation-eights"}
"""Where results are kept with those of another table."""


def printed(name: str, runs: Path, foreign: Path, seeds: int) -> str:
    """What the command of a table prints."""
    out = runs / FOLDERS.get(name, name)
    command = [part.format(foreign=foreign) for part in COMMANDS[name]]
    numbers = [str(seed) for seed in range(seeds)] if name == "likelihoods" else [str(seeds)]
    given = [sys.executable, *command, "--out", str(out), "--seeds", *numbers]
    ended = subprocess.run(given, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    if name == "likelihoods":  # what it prints is for a terminal
        return (out / "table.md").read_text()
    return ended.stdout


def tables_of(text: str) -> str:
    """The tables alone, an empty line between two.

    Raises:
        ValueError: If there is none.
    """
    blocks: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            blocks.append([])
        if is_row:
            blocks[-1].append(line.rstrip())
        inside = is_row
    if not blocks:
        raise ValueError(f"text must hold a table, got {text[-200:]!r}")
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def draw(runs: Path) -> None:
    """The figures, from the same folders."""
    command = [sys.executable, "scripts/draw_fidelity.py", "--runs", str(runs / "eights")]
    command += ["--digits", str(runs / "digits" / "digits-0")]
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/fidelity"))
    parser.add_argument("--foreign", type=Path, default=Path("runs/foreign-sets"))
    parser.add_argument("--only", nargs="+", choices=[*COMMANDS, "figures"])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    wanted = given.only or [*COMMANDS, "figures"]
    TABLES.mkdir(parents=True, exist_ok=True)
    runs, foreign = given.runs.resolve(), given.foreign.resolve()
    for name in (name for name in COMMANDS if name in wanted):
        found = tables_of(printed(name, runs, foreign, given.seeds))
        with files.whole(TABLES / f"{name}.md") as temporary:
            temporary.write_text(found)
        print(f"docs/tables/{name}.md written", flush=True)
    if "figures" in wanted:
        draw(runs)

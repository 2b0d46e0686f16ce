"""How long torch-cluster takes to compile: as one file, as set-up does it, and as it comes.

Both are built in environments of their own in a scratch folder, from uv's cache where it has
their packages, and by one process each, so that CPU seconds can be compared.

Run: python benchmarks/speed_setup.py [--only one-file]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGIN = Path(__file__).parents[1] / "tools" / "one-unit"
WAYS = {"one-file": (str(PLUGIN),), "as-it-comes": ()}


def build(way: str, scratch: Path) -> None:
    """Compiles torch-cluster in an environment of its own and prints what that took."""
    place = scratch / way
    needed = (f"torch=={importlib.metadata.version('torch')}", "setuptools<81", "wheel", "scipy")
    install = ("uv", "pip", "install", "--quiet", "--no-config", "--python", str(place))
    subprocess.run(("uv", "venv", "--quiet", "--python", sys.executable, str(place)), check=True)
    subprocess.run((*install, *needed, *WAYS[way]), check=True, cwd=scratch)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    compiled = ("--no-cache", "--no-build-isolation", "--no-deps", "torch-cluster==1.6.3")
    subprocess.run((*install, *compiled), check=True, cwd=scratch)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{way}: {cpu:.0f} s of CPU, {seconds:.0f} s on the clock", flush=True)


def main() -> None:
    """Both ways, or one of them."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", choices=WAYS, help="one of the two")
    only = options.parse_args().only
    with tempfile.TemporaryDirectory() as scratch:
        for way in WAYS if only is None else [only]:
            build(way, Path(scratch))


if __name__ == "__main__":
    main()

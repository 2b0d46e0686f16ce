"""Checks that a wheel is at most 22 MB and holds all bundled data."""

import sys
import zipfile
from pathlib import Path

LIMIT = 22_000_000
NEEDED = (
    "gconvae/data/superpixels.npz",
    "gconvae/data/LICENSE",
    "gconvae/data/reference.safetensors",
    "gconvae/data/reference.json",
    "gconvae/data/pretrained/eights/manifest.json",
    "gconvae/data/pretrained/eights/model.json",
    "gconvae/data/pretrained/eights/model.safetensors",
    "gconvae/py.typed",
)

wheel = Path(sys.argv[1])
size = wheel.stat().st_size
missing = set(NEEDED) - set(zipfile.ZipFile(wheel).namelist())
print(f"{wheel.name}: {size / 1e6:.1f} MB")
if size > LIMIT or missing:
    sys.exit(f"the wheel must be at most {LIMIT / 1e6:.0f} MB and hold {NEEDED}, lacks {missing}")

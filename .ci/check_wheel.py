"""Checks that a wheel holds all bundled data, and that no part of it is larger than it may be."""

import sys
import zipfile
from pathlib import Path

LIMITS = {
    "gconvae/data/superpixels.npz": 6_000_000,
    "gconvae/data/jets.npz": 8_000_000,
    "gconvae/data/pretrained/": 16_000_000,
    "": 1_500_000,
}
"""Most bytes in the wheel of what begins with these names; the last is all the rest."""

MOST = 30_000_000
"""Bytes of the whole wheel."""

NEEDED = (
    "gconvae/data/superpixels.npz",
    "gconvae/data/jets.npz",
    "gconvae/data/jets.json",
    "gconvae/data/LICENSE",
    "gconvae/data/reference.safetensors",
    "gconvae/data/reference.json",
    "gconvae/data/jet_reference.safetensors",
    "gconvae/data/jet_reference.json",
    "gconvae/data/pretrained/digits/manifest.json",
    "gconvae/data/pretrained/digits/model.json",
    "gconvae/data/pretrained/digits/model.safetensors",
    "gconvae/data/pretrained/eights/manifest.json",
    "gconvae/data/pretrained/eights/model.json",
    "gconvae/data/pretrained/eights/model.safetensors",
    "gconvae/data/pretrained/gluon/manifest.json",
    "gconvae/data/pretrained/gluon/model.json",
    "gconvae/data/pretrained/gluon/model.safetensors",
    "gconvae/py.typed",
)

wheel = zipfile.ZipFile(Path(sys.argv[1]))
sizes = dict.fromkeys(LIMITS, 0)
for file in wheel.infolist():
    sizes[next(part for part in LIMITS if file.filename.startswith(part))] += file.compress_size
for part, size in sizes.items():
    print(f"{part or 'all the rest'}: {size / 1e6:.2f} MB")
    if size > LIMITS[part]:
        sys.exit(f"{part or 'all the rest'} must be at most {LIMITS[part] / 1e6:.0f} MB")
if sum(sizes.values()) > MOST:
    sys.exit(
        f"the wheel must have at most {MOST / 1e6:.0f} MB, has {sum(sizes.values()) / 1e6:.1f}"
    )
missing = set(NEEDED) - set(wheel.namelist())
if missing:
    sys.exit(f"the wheel must hold {', '.join(NEEDED)}, lacks {', '.join(missing)}")

"""Makes the bundled jets from simulated ones: npz and card, and tables of what rounding changes.

First gconvae jets make --kind K --count 20500 --out FOLDER/K.hdf5 for K = g, q and t, then
python scripts/make_jets.py FOLDER [--out gconvae/data]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from make_superpixels import npz_bytes
from scipy.stats import wasserstein_distance

from gconvae import files
from gconvae.datasets import jet_bundle
from gconvae.datasets.jet_bundle import COUNTS, NUM_PARTICLES, BundledJets
from gconvae.datasets.simulation import KINDS, collisions

LARGEST = 8_000_000
"""Bytes of the npz file, at most."""

Array = npt.NDArray[Any]


class Simulated(NamedTuple):
    """Jets of one kind as they were simulated, and how."""

    jets: BundledJets
    settings: dict[str, Any]


def split_rows(event: Array) -> Array:
    """Rows of the three splits, one after the other; no collision has jets in two of them."""
    rows, start = [], 0
    for count in COUNTS.values():
        if start > 0 and event[start] == event[start - 1]:
            start += 1
        rows.append(np.arange(start, start + count))
        start += count
    found = np.concatenate(rows)
    if start > len(event):
        raise ValueError(f"files must hold at least {start} jets, got {len(event)}")
    return found


def read_simulated(path: Path) -> Simulated:
    """The jets of the splits from a file of gconvae jets make."""
    with h5py.File(path) as file:
        settings = json.loads(file.attrs["simulation"])
        rows = split_rows(file["event"][:])
        stop = rows[-1] + 1
        particles = file["particle_features"][:stop, :NUM_PARTICLES][rows]
        features = file["jet_features"][:stop][rows]
    if particles.shape[1] != NUM_PARTICLES:
        raise ValueError(f"{path} must hold {NUM_PARTICLES} particles a jet at least")
    jets = BundledJets(particles[..., :3], particles[..., 3] > 0, features)
    return Simulated(jets, settings)


def relative_mass(jets: BundledJets) -> Array:
    """Mass of the kept particles over the jet's pT, particles taken as massless, shape (B,)."""
    eta, phi, pt = np.moveaxis(jets.points.astype(np.float64), -1, 0)
    pt = np.where(jets.mask, pt, 0)
    momentum = (pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta))
    energy = (pt * np.cosh(eta)).sum(1)
    squared = energy**2 - sum(part.sum(1) ** 2 for part in momentum)
    return np.sqrt(np.maximum(squared, 0))


def quantities(jets: BundledJets) -> dict[str, Array]:
    """What is compared: features of particles, relative mass, features of jets."""
    nodes = jets.points[jets.mask]  # (P, 3)
    found = {name: nodes[:, i] for i, name in enumerate(("eta_rel", "phi_rel", "pt_rel"))}
    found |= {"log pt_rel": np.log(nodes[:, 2]), "relative mass": relative_mass(jets)}
    names = ("jet pt (GeV)", "jet eta", "jet mass (GeV)", "jet number")
    return found | {name: jets.jet_features[:, i] for i, name in enumerate(names)}


def rows_of(jets: BundledJets, rows: slice) -> BundledJets:
    """Some of the jets."""
    return BundledJets(*(values[rows] for values in jets))


def rounding_table(simulated: dict[str, BundledJets], bundled: dict[str, BundledJets]) -> str:
    """Markdown: W1 between simulated and bundled jets, and between two halves of the former."""
    lines = [
        "| kind | quantity | W1 of rounding | W1 of two halves | ratio |",
        "|---|---|---|---|---|",
    ]
    for kind, jets in simulated.items():
        half = len(jets.mask) // 2
        a, b = (quantities(rows_of(jets, rows)) for rows in (slice(half), slice(half, None)))
        after = quantities(bundled[kind])
        for name, before in quantities(jets).items():
            rounding = wasserstein_distance(before, after[name])
            floor = wasserstein_distance(a[name], b[name])
            lines.append(
                f"| {kind} | {name} | {rounding:.2g} | {floor:.2g} | {rounding / floor:.4f} |"
            )
    return "\n".join(lines)


def kinds_table(bundled: dict[str, BundledJets]) -> str:
    """Markdown: what the jets of each kind are like, mean and standard deviation."""
    lines = [
        "| kind | pT (GeV) | mass (GeV) | constituents | relative mass | hardest pt_rel | "
        f"sum of pt_rel | with {NUM_PARTICLES} particles |",
        "|---" * 8 + "|",
    ]
    for kind, jets in bundled.items():
        pt, _, mass, number = jets.jet_features.T.astype(np.float64)
        share = jets.points[..., 2].astype(np.float64)
        columns = [
            _spread(pt, 0),
            _spread(mass, 1),
            _spread(number, 1),
            _spread(relative_mass(jets), 4),
            _spread(share[:, 0], 3),
            _spread(share.sum(1), 3),
        ]
        lines.append(f"| {kind} | {' | '.join(columns)} | {100 * jets.mask.all(1).mean():.2f} % |")
    return "\n".join(lines)


def _spread(values: Array, digits: int) -> str:
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def card(npz: bytes, arrays: dict[str, Array], settings: dict[str, Any]) -> dict[str, Any]:
    """What the data file is, how it was made, and how to check it."""
    total = sum(COUNTS.values())
    angle, log_pt = round(1 / jet_bundle.ANGLE_STEP), round(1 / jet_bundle.LOG_PT_STEP)
    return {
        "file": "jets.npz",
        "sha256": hashlib.sha256(npz).hexdigest(),
        "content": f"simulated jets, the {NUM_PARTICLES} hardest particles of each, hardest "
        f"first; of each kind (g gluon, q light quark, t top) {total} jets: "
        + ", ".join(f"{count} {name}" for name, count in COUNTS.items())
        + "; no collision has jets in two splits; read by gconvae.datasets.Jets",
        "arrays": {
            "K_count": "uint8, number of real particles, which come first; K = g, q, t",
            "K_eta_high, K_eta_low": f"bytes of 32768 + eta_rel in 1/{angle}, particles first",
            "K_phi_high, K_phi_low": f"bytes of 32768 + phi_rel in 1/{angle}, likewise",
            "K_log_pt_high, K_log_pt_low": "bytes of the decrease of log pt_rel from the particle "
            f"before in 1/{log_pt}; before the first it is {jet_bundle.LOG_PT_TOP:g}",
            "K_jet_pt, K_jet_mass": "uint16, of the whole jet in 1/32 GeV",
            "K_jet_eta": f"uint16, 32768 + eta of the whole jet in 1/{angle}",
            "K_jet_number": "uint16, number of all constituents",
        },
        "shapes": {name: list(array.shape) for name, array in arrays.items()},
        "counts": COUNTS,
        "settings": {
            "common": list(collisions.COMMON),
            **{kind: list(collisions.SETTINGS[kind]) for kind in KINDS},
            "radius": collisions.RADIUS,
            "largest_particle_eta": collisions.PARTICLE_ETA,
            "largest_jet_eta": collisions.JET_ETA,
            "jet_pt": list(collisions.JET_PT),
        },
        "seed": settings["seed"],
        "versions": {name: settings[name] for name in ("pythia8mc", "fastjet")},
        "command": "gconvae jets make --kind K --count 20500 --out FOLDER/K.hdf5, "
        "python scripts/make_jets.py FOLDER",
        "licence": "MIT",
        "references": [
            "PYTHIA 8.3: arXiv:2203.11601",
            "FastJet: arXiv:1111.6097",
            "JetNet, the model of layout and selection: arXiv:2106.11535",
        ],
    }


def main() -> None:
    """Rounds and packs the jets, writes npz and card, prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of g.hdf5, q.hdf5 and t.hdf5")
    parser.add_argument("--out", type=Path, default=Path("gconvae/data"), help="%(default)s")
    options = parser.parse_args()
    read = {kind: read_simulated(options.folder / f"{kind}.hdf5") for kind in KINDS}
    settings = [{**one.settings, "kind": "", "num_particles": 0} for one in read.values()]
    if any(other != settings[0] for other in settings):
        raise ValueError(f"files must be of one seed and the same versions, got {settings}")
    simulated = {kind: one.jets for kind, one in read.items()}
    packed = {kind: jet_bundle.packed(jets) for kind, jets in simulated.items()}
    arrays = {f"{kind}_{name}": a for kind, own in packed.items() for name, a in own.items()}
    npz = npz_bytes(arrays)
    if len(npz) > LARGEST:
        raise ValueError(f"jets.npz must have {LARGEST:,} bytes at most, it has {len(npz):,}")
    about = card(npz, arrays, settings[0])
    options.out.mkdir(parents=True, exist_ok=True)
    with files.whole(options.out / "jets.npz") as temporary:
        temporary.write_bytes(npz)
    with files.whole(options.out / "jets.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{options.out / 'jets.npz'}: {len(npz):,} bytes, sha256 {about['sha256']}\n")
    bundled = {kind: jet_bundle.unpacked(own) for kind, own in packed.items()}
    print(kinds_table(bundled), rounding_table(simulated, bundled), sep="\n\n")


if __name__ == "__main__":
    main()

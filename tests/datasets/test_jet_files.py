"""Published files of jets: JetNet, the HLS4ML LHC Jet data set, JetClass in ROOT and Parquet."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import uproot

from gconvae.datasets import CloudDataset, CloudFile, Jets, as_dataset, from_file, to_file
from gconvae.datasets.storage import root
from gconvae.schema import JET_CONDITIONS, JETS

NUM_JETS, NUM_PARTICLES = 40, 7


def jets(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Particles relative to the jet, hardest first, and four numbers of each jet."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, NUM_PARTICLES + 1, NUM_JETS)
    mask = np.arange(NUM_PARTICLES) < sizes[:, None]
    pt_rel = np.sort(rng.random(mask.shape), 1)[:, ::-1] * mask
    angles = rng.normal(0, 0.2, (*mask.shape, 2)) * mask[..., None]
    features = np.concatenate([angles, pt_rel[..., None]], -1)
    rows = rng.random((NUM_JETS, 4)) * (500, 2, 200, 0) + (800, -1, 10, 0)
    rows[:, 3] = sizes
    return {"points": features.astype(np.float32), "mask": mask, "jets": rows.astype(np.float32)}


def both_ways(path: Path) -> Iterator[CloudDataset]:
    """Read at once, and opened, pickled and read in an order of its own."""
    yield from_file(path, in_memory=True)
    opened = pickle.loads(pickle.dumps(from_file(path, in_memory=False)))
    assert isinstance(opened, CloudFile)
    whole = opened.in_memory()
    rows = torch.tensor([3, 0, 20, 3])
    taken = opened.take(rows)
    assert torch.equal(taken.points, whole.points[rows])
    if whole.conditions is not None:
        assert taken.conditions is not None
        assert torch.equal(taken.conditions, whole.conditions[rows])
    assert opened.checksum() == whole.checksum()
    assert from_file(path, in_memory=True).checksum() == whole.checksum()
    yield whole


def write_hdf5(path: Path, **content: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    return path


# JetNet


def write_jetnet(path: Path) -> Path:
    content = jets()
    features = np.concatenate([content["points"], content["mask"][..., None]], -1)
    return write_hdf5(path, particle_features=features, jet_features=content["jets"])


def test_jetnets_features_of_a_jet_are_conditions(tmp_path: Path) -> None:
    content = jets()
    for data in both_ways(write_jetnet(tmp_path / "g.hdf5")):
        assert data.schema == JETS.replace(classes=("g",), conditions=JET_CONDITIONS)
        assert [c.label for c in data.schema.conditions] == [
            "pt (GeV)",
            "eta",
            "mass (GeV)",
            "num_particles",
        ]
        np.testing.assert_array_equal(data.points, content["points"])
        np.testing.assert_array_equal(data.mask, content["mask"])
        np.testing.assert_array_equal(data.conditions, content["jets"])
        assert data.labels is not None
        assert not data.labels.any()


@pytest.mark.parametrize(
    ("name", "classes"), [("q150.hdf5", ("q",)), ("z.h5", ("z",)), ("jets.hdf5", ())]
)
def test_the_class_of_jetnets_jets_is_in_the_name_of_the_file(
    tmp_path: Path, name: str, classes: tuple[str, ...]
) -> None:
    data = from_file(write_jetnet(tmp_path / name))
    assert data.schema.classes == classes
    assert (data[0].y is None) == (not classes)


def test_files_of_several_classes_are_joined_by_the_names_of_the_classes(tmp_path: Path) -> None:
    files = [from_file(write_jetnet(tmp_path / f"{name}.hdf5")) for name in "gt"]
    data = as_dataset(torch.utils.data.ConcatDataset(files))
    assert isinstance(data, CloudDataset)
    assert data.schema.classes == ("g", "t")
    assert data.labels is not None
    assert data.labels.tolist() == [0] * NUM_JETS + [1] * NUM_JETS
    assert data.schema.conditions == JET_CONDITIONS


def test_jetnets_files_without_features_of_the_jet(tmp_path: Path) -> None:
    features = np.ones((4, 3, 4), np.float32)
    data = from_file(write_hdf5(tmp_path / "t.hdf5", particle_features=features))
    assert data.schema == JETS.with_classes(["t"])


def test_a_schema_of_ones_own_keeps_the_names_of_the_conditions(tmp_path: Path) -> None:
    own = JETS.replace(name="mine")
    path = write_jetnet(tmp_path / "jets.hdf5")
    for in_memory in (True, False):
        schema = from_file(path, schema=own, in_memory=in_memory).schema
        assert schema == own.replace(conditions=JET_CONDITIONS)


# HLS4ML

PARTICLE = (
    *("j1_px", "j1_py", "j1_pz", "j1_e", "j1_erel", "j1_pt", "j1_ptrel", "j1_eta", "j1_etarel"),
    *("j1_etarot", "j1_phi", "j1_phirel", "j1_phirot", "j1_deltaR", "j1_costheta"),
    "j1_costhetarel",
)
JET = ("j_zlogz", "j_pt", "j_mass", "j_eta", "j_multiplicity")
CLASSES = ("j_g", "j_q", "j_w", "j_z", "j_t", "j_undef")


def hls4ml() -> dict[str, Any]:
    content, rng = jets(), np.random.default_rng(1)
    particles = rng.random((NUM_JETS, NUM_PARTICLES, 16)) * content["mask"][..., None]
    for column, name in enumerate(("j1_etarel", "j1_phirel", "j1_ptrel")):
        particles[..., PARTICLE.index(name)] = content["points"][..., column]
    particles[..., PARTICLE.index("j1_pt")] = content["points"][..., 2] * 1000
    table = np.zeros((NUM_JETS, len(JET + CLASSES)))
    for column, name in enumerate(("j_pt", "j_eta", "j_mass", "j_multiplicity")):
        table[:, JET.index(name)] = content["jets"][:, column]
    table[np.arange(NUM_JETS), len(JET) + np.arange(NUM_JETS) % 5] = 1
    return {
        "jetConstituentList": particles,
        "particleFeatureNames": np.array(PARTICLE, dtype="S"),
        "jets": table,
        "jetFeatureNames": np.array(JET + CLASSES, dtype="S"),
    }


def test_hls4mls_columns_are_found_by_their_names(tmp_path: Path) -> None:
    content = jets()
    for data in both_ways(write_hdf5(tmp_path / "jetImage_7_30p.h5", **hls4ml())):
        assert data.schema == JETS.replace(
            classes=("g", "q", "w", "z", "t"), conditions=JET_CONDITIONS
        )
        np.testing.assert_allclose(data.points, content["points"], atol=1e-6)
        np.testing.assert_array_equal(data.mask, content["mask"])
        np.testing.assert_array_equal(data.conditions, content["jets"])
        assert data.labels is not None
        assert data.labels.tolist() == [n % 5 for n in range(NUM_JETS)]


def test_angles_beyond_half_a_turn_are_brought_back(tmp_path: Path) -> None:
    content = hls4ml()
    column = PARTICLE.index("j1_phirel")
    before = from_file(write_hdf5(tmp_path / "a.h5", **content)).points
    content["jetConstituentList"][..., column] += 2 * np.pi
    after = from_file(write_hdf5(tmp_path / "b.h5", **content)).points
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


def without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


def unlabelled() -> dict[str, Any]:
    content = hls4ml()
    content["jets"][3, len(JET) :] = 0
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without(hls4ml(), "jets"), "jets must be a dataset"),
        (without(hls4ml(), "jetFeatureNames"), "must hold jetFeatureNames"),
        (hls4ml() | {"particleFeatureNames": np.array(["x"] * 16, dtype="S")}, "lacks j1_etarel"),
        (hls4ml() | {"particleFeatureNames": np.array(["x"], dtype="S")}, "must name 16 columns"),
        (hls4ml() | {"jets": np.zeros((3, 11))}, "jets must have 40 rows like jetConst"),
        (unlabelled(), "labels must be a 1 among zeros .* of jet 3"),
        ({"particle_features": np.ones((4, 3, 3))}, "must have eta_rel, phi_rel, pt_rel and mask"),
        ({"particle_features": np.ones((4, 3))}, "particle_features must have shape"),
        (
            {"particle_features": np.ones((4, 3, 4)), "jet_features": np.ones((4, 3))},
            "jet_features must have pt, eta, mass and number",
        ),
        (
            {"particle_features": np.ones((4, 3, 4)), "jet_features": np.ones((5, 4))},
            "jet_features must have 4 rows like particle_features",
        ),
    ],
)
def test_hdf5_files_that_are_not_whole_layouts_are_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    path = write_hdf5(tmp_path / "a.h5", **content)
    for in_memory in (True, False):
        with pytest.raises(ValueError, match=message):
            list(from_file(path, in_memory=in_memory))


# JetClass


def jetclass(largest: int = NUM_PARTICLES) -> dict[str, Any]:
    """Columns as JetClass has them, particles in any order."""
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, largest + 1, NUM_JETS)
    sizes[5] = largest
    total = int(sizes.sum())
    lists = {
        name: awkward.unflatten(awkward.Array(values.astype(np.float32)), sizes)
        for name, values in {
            "part_px": rng.normal(0, 20, total),
            "part_py": rng.normal(0, 20, total),
            "part_pz": rng.normal(0, 50, total),
            "part_energy": rng.random(total) * 100 + 60,
            "part_deta": rng.normal(0, 0.2, total),
            "part_dphi": rng.normal(0, 0.2, total),
        }.items()
    }
    pt, eta = rng.random(NUM_JETS) * 500 + 500, rng.normal(0, 1, NUM_JETS)
    mass = rng.random(NUM_JETS) * 100 + 50
    numbers = {
        "jet_pt": pt,
        "jet_eta": eta,
        "jet_phi": rng.random(NUM_JETS) * 6 - 3,
        "jet_energy": np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2),
        "jet_nparticles": sizes.astype(float),
    }
    classes = {
        "label_QCD": np.arange(NUM_JETS) % 3 == 0,
        "label_Hbb": np.arange(NUM_JETS) % 3 == 1,
    }
    classes["label_Tbqq"] = np.arange(NUM_JETS) % 3 == 2
    return lists | {n: v.astype(np.float32) for n, v in numbers.items()} | classes


def write_jetclass(path: Path, content: dict[str, Any]) -> Path:
    if path.suffix == ".root":
        with uproot.recreate(path) as file:
            if "tuple" in path.stem:
                file.mkrntuple("tree", content)
            else:
                kinds = {
                    name: "var * float32" if hasattr(values, "layout") else values.dtype
                    for name, values in content.items()
                }
                file.mktree("tree", kinds)
                file["tree"].extend(content)
        return path
    columns = {n: v.tolist() if hasattr(v, "layout") else v for n, v in content.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=9)
    return path


SUFFIXES = ("root", "parquet")


def expected(content: dict[str, Any], jet: int, most: int) -> np.ndarray[Any, Any]:
    """Particles of a jet by a slow loop, the hardest first."""
    rows = []
    for particle in range(len(content["part_px"][jet])):
        px, py, deta, dphi = (
            float(content[f"part_{name}"][jet][particle]) for name in ("px", "py", "deta", "dphi")
        )
        rows.append((deta, dphi, np.hypot(px, py) / float(content["jet_pt"][jet])))
    return np.array(sorted(rows, key=lambda row: -row[2])[:most])


@pytest.mark.parametrize("name", ["tree.root", "tuple.root", "a.parquet"])
def test_jetclass_jets_of_any_length(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root, "CHUNK", 11)
    content = jetclass()
    for data in both_ways(write_jetclass(tmp_path / name, content)):
        assert data.schema == JETS.replace(
            classes=("QCD", "Hbb", "Tbqq"), conditions=JET_CONDITIONS
        )
        assert data.points.shape == (NUM_JETS, NUM_PARTICLES, 3)
        for jet in range(NUM_JETS):
            found = data.points[jet][data.mask[jet]]
            np.testing.assert_allclose(found, expected(content, jet, 7), rtol=1e-5)
        assert data.labels is not None
        assert data.labels.tolist() == [n % 3 for n in range(NUM_JETS)]
        assert data.conditions is not None
        pt, eta, mass, number = data.conditions.double().unbind(1)
        np.testing.assert_allclose(pt, content["jet_pt"])
        np.testing.assert_allclose(eta, content["jet_eta"])
        square = content["jet_energy"].astype(float) ** 2 - (pt * torch.cosh(eta)).numpy() ** 2
        np.testing.assert_allclose(mass, np.sqrt(square), rtol=1e-5)
        assert mass.min() > 49
        assert mass.max() < 151
        np.testing.assert_array_equal(number, content["jet_nparticles"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_hardest_128_particles_are_kept(tmp_path: Path, suffix: str) -> None:
    content = jetclass(largest=140)
    data = from_file(write_jetclass(tmp_path / f"a.{suffix}", content))
    assert data.points.shape[1] == 128
    np.testing.assert_allclose(data.points[5], expected(content, 5, 128), rtol=1e-5)
    assert data.conditions is not None
    assert data.conditions[5, 3] == 140


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_angles_they_are_made_of_momenta(tmp_path: Path, suffix: str) -> None:
    content = jetclass()
    bare = {n: v for n, v in content.items() if n not in ("part_deta", "part_dphi")}
    data = from_file(write_jetclass(tmp_path / f"a.{suffix}", bare))
    for jet in (0, 1, 2, 3):
        px, py, pz = (
            content[f"part_{n}"][jet].to_numpy().astype(float) for n in ("px", "py", "pz")
        )
        order = np.argsort(-np.hypot(px, py))
        sign = 1 if content["jet_eta"][jet] > 0 else -1
        eta = sign * (np.arcsinh(pz / np.hypot(px, py)) - content["jet_eta"][jet])
        turn = np.exp(1j * (np.arctan2(py, px) - content["jet_phi"][jet]))
        found = data.points[jet][data.mask[jet]].numpy()
        np.testing.assert_allclose(found[:, 0], eta[order], atol=1e-5)
        np.testing.assert_allclose(found[:, 1], np.angle(turn)[order], atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_a_file_does_not_say_is_left_out(tmp_path: Path, suffix: str) -> None:
    names = ("part_px", "part_py", "part_deta", "part_dphi", "jet_pt")
    content = {name: jetclass()[name] for name in names}
    data = from_file(write_jetclass(tmp_path / f"a.{suffix}", content))
    assert data.labels is None
    assert [c.name for c in data.schema.conditions] == ["pt", "num_particles"]
    assert data.conditions is not None
    counts = awkward.num(content["part_px"]).to_numpy()
    np.testing.assert_array_equal(data.conditions[:, 1], counts)


def two_classes() -> dict[str, Any]:
    content = jetclass()
    return content | {"label_Hbb": np.ones(NUM_JETS, bool)}


def uneven() -> dict[str, Any]:
    content = jetclass()
    return content | {"part_deta": content["part_deta"][:, :0]}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without(jetclass(), "part_py"), "lacks part_py"),
        (without(without(jetclass(), "part_deta"), "jet_phi"), "lacks jet_phi"),
        (two_classes(), "labels must be a 1 among zeros .* of jet 0"),
        (uneven(), "part_deta must have as many numbers as part_px"),
        (jetclass() | {"part_py": np.ones(NUM_JETS)}, "part_py must .* list"),
        (jetclass() | {"jet_pt": np.zeros(NUM_JETS)}, "points must be finite"),
    ],
)
def test_columns_that_are_no_jets_are_refused(
    tmp_path: Path, suffix: str, content: dict[str, Any], message: str
) -> None:
    path = write_jetclass(tmp_path / f"a.{suffix}", content)
    for in_memory in (True, False):
        with pytest.raises(ValueError, match=message):
            list(from_file(path, in_memory=in_memory))


def test_a_root_file_without_jets_says_what_it_has(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["events"] = {"x": np.ones(3)}
    with pytest.raises(ValueError, match="a tree of jets with part_px, .* has events;1"):
        from_file(tmp_path / "a.root")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_damaged_root_files_are_refused_in_one_line(tmp_path: Path, share: float) -> None:
    content = write_jetclass(tmp_path / "a.root", jetclass()).read_bytes()
    (tmp_path / "b.root").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="path must be a whole ROOT file") as caught:
        list(from_file(tmp_path / "b.root"))
    assert "\n" not in str(caught.value)


def test_a_root_file_without_uproot_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jetclass(tmp_path / "a.root", jetclass())
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs uproot: pip install .gconvae\[root\]"):
        from_file(path)


@pytest.mark.parametrize("in_memory", [None, True])
def test_the_hardest_particles_of_a_file_can_be_taken_alone(
    tmp_path: Path, in_memory: bool | None
) -> None:
    some = Jets(["g", "q"], "test")[3980:4020]
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    for name in ("jets.npz", "jets.hdf5", "jets.parquet"):
        path = tmp_path / name
        to_file(some, path)
        kept = from_file(path, max_nodes=7, in_memory=in_memory)
        assert torch.equal(kept.points, some.points[:, :7])
        assert torch.equal(kept.mask, some.mask[:, :7])
        assert torch.equal(kept.labels, some.labels)
        assert torch.equal(kept.conditions, some.conditions)
        assert kept.schema == some.schema
        assert torch.equal(from_file(path, max_nodes=99).points, some.points)
    np.savez(
        tmp_path / "any.npz", points=some.points[:, shuffled].numpy(), mask=some.mask[:, shuffled]
    )
    kept = from_file(tmp_path / "any.npz", schema=JETS, max_nodes=7)
    assert torch.equal(kept.points, some.points[:, :7])
    with pytest.raises(ValueError, match="max_nodes must be a whole number of at least 1"):
        from_file(path, max_nodes=0)
    with pytest.raises(ValueError, match="in_memory must not be False with max_nodes"):
        from_file(path, max_nodes=3, in_memory=False)

"""The bundled jets: kinds, splits, numbers of particles, and what they are like."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import resources
from typing import Any

import numpy as np
import pytest
import torch

from gconvae.datasets import Jets, from_points, split
from gconvae.schema import JETS


@pytest.fixture(scope="module")
def gluons() -> Jets:
    return Jets("g", "test")


@pytest.fixture(scope="module")
def all_kinds() -> Jets:
    return Jets(split="valid")


def test_the_card_describes_the_file() -> None:
    folder = resources.files("gconvae").joinpath("data")
    npz, about = folder.joinpath("jets.npz").read_bytes(), folder.joinpath("jets.json").read_text()
    card = json.loads(about)
    assert card["sha256"] == hashlib.sha256(npz).hexdigest()
    assert len(npz) <= 8_000_000
    with np.load(io.BytesIO(npz)) as arrays:
        assert {name: list(arrays[name].shape) for name in arrays.files} == card["shapes"]
    assert card["counts"] == {"train": 12_000, "valid": 4_000, "test": 4_000}


@pytest.mark.parametrize(
    ("kind", "mass", "constituents", "full"),
    [("g", 171, 98, 0.998), ("q", 119, 61, 0.93), ("t", 193, 88, 0.998)],
)
def test_each_kind_is_as_heavy_and_large_as_it_should_be(
    kind: str, mass: float, constituents: float, full: float
) -> None:
    data = Jets(kind, "test")
    pt, eta, heavy, number = data.jet_features.double().T
    assert heavy.mean() == pytest.approx(mass, abs=4)
    assert number.mean() == pytest.approx(constituents, abs=1.5)
    assert data.mask.all(1).double().mean() == pytest.approx(full, abs=0.02)
    assert pt.min() >= 800
    assert pt.max() <= 1600
    assert eta.abs().max() <= 2.5
    assert (data.mask.sum(1) == number.clamp(max=30)).all()


def test_tops_have_the_mass_of_the_top_and_others_do_not() -> None:
    near = {
        kind: (Jets(kind, "test").jet_features[:, 2] - 175).abs().lt(20).double().mean().item()
        for kind in "gqt"
    }
    assert near["t"] > 0.4
    assert max(near["g"], near["q"]) < 0.2


def test_the_hardest_particles_of_gluons_carry_most_of_the_momentum(gluons: Jets) -> None:
    share = gluons.points[..., 2].double()
    assert share[:, 0].mean() == pytest.approx(0.152, abs=0.01)
    assert share.sum(1).mean() == pytest.approx(0.872, abs=0.005)


def test_nodes_are_in_canonical_order_and_lie_on_the_lattice(all_kinds: Jets) -> None:
    again = from_points(all_kinds.points, all_kinds.mask, schema=JETS)
    assert torch.equal(again.points, all_kinds.points)
    assert torch.equal(again.mask, all_kinds.mask)
    nodes = all_kinds.points[all_kinds.mask].double()
    angles = nodes[:, :2] * 4096
    assert torch.equal(angles, angles.round())
    depth = nodes[:, 2].log() * 1024
    torch.testing.assert_close(depth, depth.round(), rtol=0, atol=1e-3)


def test_labels_are_those_of_the_classes_whatever_is_chosen(all_kinds: Jets) -> None:
    assert all_kinds.labels is not None
    assert all_kinds.labels.bincount().tolist() == [4000, 4000, 4000]
    assert all_kinds.schema.classes == ("g", "q", "t")
    tops = Jets("top", "valid")
    assert tops.labels is not None
    assert tops.labels.unique().tolist() == [2]
    assert torch.equal(tops.points, all_kinds.points[all_kinds.labels == 2])
    assert tops[0].y.item() == 2


@pytest.mark.parametrize(
    ("names", "kinds"),
    [("gluon", "g"), ("quark", "q"), (["top", "gluon"], ["g", "t"]), (("t", "t"), "t")],
)
def test_kinds_have_two_names(names: Any, kinds: Any) -> None:
    assert Jets(names, "test").checksum() == Jets(kinds, "test").checksum()


def test_splits_share_no_jet() -> None:
    parts = [Jets("q", name).points for name in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [12_000, 4_000, 4_000]
    assert len({jet.numpy().tobytes() for part in parts for jet in part}) == 20_000


def test_fewer_particles_are_the_hardest(gluons: Jets) -> None:
    few = Jets("g", "test", num_particles=7)
    assert torch.equal(few.points, gluons.points[:, :7])
    assert torch.equal(few.mask, gluons.mask[:, :7])
    assert torch.equal(few.jet_features, gluons.jet_features)


def test_features_of_the_jets_follow_subsets(all_kinds: Jets) -> None:
    rows = torch.tensor([9000, 3, 5])
    assert torch.equal(all_kinds[rows].jet_features, all_kinds.jet_features[rows])
    assert torch.equal(all_kinds[rows][1:].jet_features, all_kinds.jet_features[rows[1:]])
    kept, aside = split(all_kinds, 0.25, seed=1)
    assert isinstance(kept, Jets)
    assert isinstance(aside, Jets)
    assert len(kept.jet_features) == 9000
    assert (aside.mask.sum(1) == aside.jet_features[:, 3].clamp(max=30)).all()


def test_features_of_the_jets_follow_a_filter() -> None:
    def is_short(graph: Any) -> bool:
        return graph.num_nodes < 20

    short = Jets("q", "test", pre_filter=is_short)
    assert 0 < len(short) < 4000
    assert torch.equal(short.jet_features[:, 3], short.mask.sum(1).float())


def test_a_transform_leaves_the_features_of_the_jets() -> None:
    plain = Jets("t", "test")[:20]

    def doubled(graph: Any) -> Any:
        graph.pos = 2 * graph.pos
        return graph

    changed = Jets("t", "test", transform=doubled)[:20]
    assert torch.equal(changed.points[..., 0], 2 * plain.points[..., 0])
    assert torch.equal(changed.jet_features, plain.jet_features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "w"}, "kind must be gluon, quark, top, g, q or t.*got 'w'"),
        ({"kind": []}, "kind must be"),
        ({"kind": 1}, "kind must be"),
        ({"split": "all"}, "split must be 'train', 'valid' or 'test', got 'all'"),
        ({"num_particles": 31}, "num_particles must be a whole number, 1 to 30, got 31"),
        ({"num_particles": 0}, "num_particles must be"),
        ({"num_particles": True}, "num_particles must be"),
        ({"num_particles": 2.0}, "num_particles must be"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Jets(**options)


def test_a_numpy_integer_is_a_number_of_particles() -> None:
    assert Jets("g", "test", np.int64(3)).points.shape == (4000, 3, 3)  # type: ignore[arg-type]

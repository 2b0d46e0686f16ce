from __future__ import annotations

import generators
import pytest
import torch

from gconvae import datasets
from gconvae.options import ModelOptions
from gconvae.schema import JETS, points
from gconvae.studies.experiment import Experiment
from gconvae.studies.search_space import Plan, row_name

SMALL = Experiment(model=ModelOptions(hidden=8, channels=(4, 4), padding=2))


def plan(data: datasets.CloudDataset, metric: str) -> Plan:
    return Plan({"beta": [1.0]}, data, data[:60], SMALL, (0,), metric, None)


@pytest.fixture(scope="module")
def jets() -> datasets.CloudDataset:
    nodes, mask = generators.jets(120, 0)
    return datasets.from_points(nodes.float(), mask, schema=JETS)


@pytest.mark.parametrize(
    ("metric", "row"),
    [
        ("mass W1", ("mass", "W1")),
        ("tau32 W1", ("tau32", "W1")),
        ("EFP FPD", ("EFP", "FPD")),
        ("EFP KPD", ("EFP", "KPD")),
        ("EMD coverage", ("EMD", "coverage")),
    ],
)
def test_rows_of_jets_can_choose(metric: str, row: tuple[str, str]) -> None:
    assert row_name(metric) == row


@pytest.mark.parametrize("metric", ["mass W1", "EMD MMD"])
def test_a_row_of_jets_is_of_their_group(jets: datasets.CloudDataset, metric: str) -> None:
    found = plan(jets, metric)
    assert found.group == "jets"
    assert found.better == "lower"


def test_a_feature_of_jets_is_one_of_the_features(jets: datasets.CloudDataset) -> None:
    assert plan(jets, "pt_rel W1").group == "features"


def test_a_feature_that_is_called_mass_is_no_row_of_jets() -> None:
    nodes = torch.rand(120, 6, 3, generator=torch.Generator().manual_seed(0))
    data = datasets.from_points(nodes, schema=points("x y", "mass"))
    assert plan(data, "mass W1").group == "features"
    with pytest.raises(ValueError, match="jets needs the features eta_rel, phi_rel, pt_rel"):
        plan(data, "EMD MMD")

from __future__ import annotations

from itertools import product

import energyflow_values
import generators
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gconvae.metrics import jets
from gconvae.metrics.jets import energy_flow
from gconvae.metrics.jets.energy_flow import Graph


def loop(jet: NDArray[np.float64], graph: Graph) -> float:
    """The definition: one sum a vertex, term after term."""
    number = max([0, *(vertex for edge in graph for vertex in edge)]) + 1
    total = 0.0
    for chosen in product(range(len(jet)), repeat=number):
        term = np.prod([jet[i, 2] for i in chosen])
        for a, b in graph:
            term *= np.hypot(*(jet[chosen[a], :2] - jet[chosen[b], :2]))
        total += term
    return float(total)


def test_polynomials_are_those_of_energyflow() -> None:
    found = jets.energy_flow_polynomials(energyflow_values.JETS[:3])
    np.testing.assert_allclose(found, energyflow_values.POLYNOMIALS, rtol=1e-10, atol=1e-18)


def test_polynomials_of_jetnets_w1efp_are_the_connected_ones_of_four() -> None:
    found = jets.energy_flow_polynomials(energyflow_values.JETS[:3], jets.PRIMES_OF_FOUR)
    np.testing.assert_allclose(found, energyflow_values.PRIMES_OF_FOUR, rtol=1e-10, atol=1e-18)
    for graph in jets.PRIMES_OF_FOUR:
        assert len(graph) == 4
        assert energy_flow._connected(graph) == [graph]
        assert max(map(max, graph)) == 3


def test_all_graphs_follow_their_definition() -> None:
    few = [graph for graph in jets.GRAPHS if max([0, *map(max, graph)]) < 6]  # else 3^8 terms
    jet = np.array([[0.1, 0.2, 0.5], [-0.3, 0.1, 0.3], [0.0, -0.2, 0.1]])
    found = jets.energy_flow_polynomials(jet[None], few)[0]
    np.testing.assert_allclose(found, [loop(jet, graph) for graph in few], rtol=1e-10)


def test_order_padding_turns_and_shifts_change_nothing() -> None:
    given, mask = generators.jets(20, 0)
    wanted = jets.energy_flow_polynomials((given, mask))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    spoiled = given.masked_fill(~mask.unsqueeze(-1), 9.0)[:, order]
    found = jets.energy_flow_polynomials((spoiled, mask[:, order]))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    shifted = given + torch.tensor([0.3, 2.0, 0.0])
    np.testing.assert_allclose(
        jets.energy_flow_polynomials((shifted, mask)), wanted, rtol=1e-9, atol=1e-15
    )
    c, s = np.cos(1.0), np.sin(1.0)
    turned = given @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]).double()
    np.testing.assert_allclose(
        jets.energy_flow_polynomials((turned, mask)), wanted, rtol=1e-9, atol=1e-15
    )


def test_soft_and_collinear_particles_change_nothing() -> None:
    jet = np.array([[[0.1, 0.2, 0.5], [-0.3, 0.1, 0.4]]])
    split = np.array([[[0.1, 0.2, 0.3], [0.1, 0.2, 0.2], [-0.3, 0.1, 0.4], [0.5, 0.5, 0.0]]])
    found, wanted = (jets.energy_flow_polynomials(given) for given in (split, jet))
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-18)


def test_pieces_of_a_sample_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    given = generators.jets(23, 1)
    wanted = jets.energy_flow_polynomials(given)
    monkeypatch.setattr(energy_flow, "CHUNK_ENTRIES", 5 * 12**2)
    np.testing.assert_array_equal(jets.energy_flow_polynomials(given), wanted)


def test_particles_on_either_side_of_the_seam_are_near_each_other() -> None:
    across = np.array([[[0.0, 3.1, 0.5], [0.0, 3.2 - 2 * np.pi, 0.5]]])
    near = np.array([[[0.0, -0.05, 0.5], [0.0, 0.05, 0.5]]])
    shifted = across - np.array([0.0, 3.1, 0.0])  # relative to the axis, where no seam is
    np.testing.assert_allclose(
        jets.energy_flow_polynomials(shifted), jets.energy_flow_polynomials(near), rtol=1e-9
    )


@pytest.mark.parametrize("graphs", [[], [((0, 1), (1, 2))], [((0, 1),) * 5]])
def test_unknown_graphs_are_an_error(graphs: list[Graph]) -> None:
    with pytest.raises(ValueError, match="graphs must be some of gconvae.metrics.jets.GRAPHS"):
        jets.energy_flow_polynomials(generators.jets(2, 0), graphs)

from __future__ import annotations

import energyflow_values
import generators
import numpy as np
import pytest
from numpy.typing import NDArray

from gconvae.metrics import jets
from gconvae.metrics.jets import substructure


def loop(jet: NDArray[np.float64], number: int) -> float:
    """The definition, with a list of axes that grows shorter pair by pair."""
    axes = [(eta, phi, pt) for eta, phi, pt in jet]
    while len(axes) > number:
        pairs = [(i, j) for j in range(len(axes)) for i in range(j)]
        distances = [
            min(axes[i][2], axes[j][2]) ** 2
            * ((axes[i][0] - axes[j][0]) ** 2 + (axes[i][1] - axes[j][1]) ** 2)
            for i, j in pairs
        ]
        i, j = pairs[int(np.argmin(distances))]
        harder, softer = sorted((axes[i], axes[j]), key=lambda axis: -axis[2])
        axes[i] = (*harder[:2], harder[2] + softer[2])
        del axes[j]
    total = sum(
        pt * min(np.hypot(eta - axis[0], phi - axis[1]) for axis in axes) for eta, phi, pt in jet
    )
    return float(total / (0.8 * jet[:, 2].sum()))


def test_it_is_the_definition_step_by_step() -> None:
    nodes, mask = generators.jets(25, 0)
    found = jets.n_subjettiness((nodes, mask))
    for jet, real, tau in zip(nodes.numpy(), mask.numpy(), found, strict=True):
        wanted = [loop(jet[real], number) for number in (1, 2, 3)]
        np.testing.assert_allclose(tau, wanted, rtol=1e-10, atol=1e-15)


def test_it_is_that_of_fastjet() -> None:
    # fastjet 3.5.2: axes are exclusive_jets(N) of
    # ClusterSequence(jet, JetDefinition(kt_algorithm, 1000.0, WTA_pt_scheme)), R = 0.8 in tau
    found = jets.n_subjettiness(energyflow_values.JETS[2:3])[0]
    np.testing.assert_allclose(found, energyflow_values.N_SUBJETTINESS, rtol=1e-10)


def test_prongs_are_found_with_as_many_axes() -> None:
    prongs = np.array([[0.3, 0.0], [-0.2, 0.2], [0.0, -0.3]])
    jet = np.concatenate([[[*prong, 0.2], [*(prong + 0.01), 0.1]] for prong in prongs])
    one, two, three = jets.n_subjettiness(jet[None])[0]
    assert one > two > 0.1
    assert three == pytest.approx(0.3 * np.hypot(0.01, 0.01) / (0.8 * 0.9), rel=1e-9)


def test_order_pieces_and_padding_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, mask = generators.jets(13, 1)
    wanted = jets.n_subjettiness((nodes, mask))
    monkeypatch.setattr(substructure, "CHUNK_ENTRIES", 3 * 12**2)
    spoiled = nodes.masked_fill(~mask.unsqueeze(-1), 4.0).flip(1)
    np.testing.assert_allclose(
        jets.n_subjettiness((spoiled, mask.flip(1))), wanted, rtol=1e-9, atol=1e-15
    )


def test_few_particles_have_no_distance_to_their_own_axes() -> None:
    assert jets.n_subjettiness([[[0.1, 0.2, 0.9]]]).tolist() == [[0.0, 0.0, 0.0]]
    pair = jets.n_subjettiness(np.array([[[0.1, 0.0, 0.5], [0.0, 0.0, 0.4]]]))[0]
    assert pair[0] == pytest.approx(0.4 * 0.1 / (0.8 * 0.9), rel=1e-9)
    assert pair[1:].tolist() == [0.0, 0.0]


def test_a_wrong_radius_is_an_error() -> None:
    with pytest.raises(ValueError, match="radius must be a number above 0, got 0"):
        jets.n_subjettiness([[[0.1, 0.2, 0.9]]], radius=0)

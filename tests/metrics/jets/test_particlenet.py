from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import generators
import numpy as np
import pytest

from gconvae.metrics import jets


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a stand-in for JetNet's package is asked for."""
    asked: list[tuple[Any, ...]] = []

    def fpnd(rows: Any, kind: str, **options: Any) -> np.float64:
        asked.append((rows, kind, options))
        return np.float64(0.25)

    package, module = ModuleType("jetnet"), ModuleType("jetnet.evaluation")
    module.fpnd = fpnd  # type: ignore[attr-defined]  # a module made by hand
    package.evaluation = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jetnet", package)
    monkeypatch.setitem(sys.modules, "jetnet.evaluation", module)
    return asked


def test_few_particles_are_filled_up_to_thirty(calls: list[tuple[Any, ...]]) -> None:
    points, mask = generators.jets(4, 0)
    assert jets.fpnd((points, mask), "q") == 0.25
    rows, kind, options = calls[0]
    assert (rows.shape, rows.dtype, kind) == ((4, 30, 3), np.float32, "q")
    assert options["device"] == "cpu"
    np.testing.assert_allclose(rows[:, :12], points, rtol=1e-6)
    assert (rows[:, 12:] == 0).all()


def test_of_many_particles_the_hardest_thirty_are_taken(calls: list[tuple[Any, ...]]) -> None:
    points, mask = generators.jets(4, 0, num_particles=50)
    jets.fpnd((points.flip(1), mask.flip(1)), "g")
    np.testing.assert_allclose(calls[0][0], points[:, :30], rtol=1e-6)


def test_without_jetnet_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jetnet", None)
    with pytest.raises(ModuleNotFoundError, match="pip install jetnet"):
        jets.fpnd(generators.jets(2, 0), "g")


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="kind must be one of g, q, t, got 'w'"):
        jets.fpnd(generators.jets(2, 0), "w")

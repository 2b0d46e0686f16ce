"""What a training leaves behind is freed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import gconvae
from gconvae import freed_memory
from gconvae.datasets import SuperpixelMNIST
from gconvae.training.engine import Engine
from gconvae.training.stages.stage import Stage


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(("most", "alive"), [(0, 0), (2**30, 2)])
def test_stages_of_large_trainings_do_not_wait_for_the_collector(
    monkeypatch: pytest.MonkeyPatch, most: int, alive: int
) -> None:
    stages: list[weakref.ref[Stage]] = []
    run = Engine.run

    def noted(engine: Engine, stage: Stage, **options: Any) -> None:
        stages.append(weakref.ref(stage))
        run(engine, stage, **options)

    monkeypatch.setattr(Engine, "run", noted)
    monkeypatch.setattr(freed_memory, "MOST_LEFT", most)
    model = gconvae.models.create("convae", hidden=8, prior="realnvp(hidden=[4])", seed=0)
    data = SuperpixelMNIST(8, "test")[:20]
    gconvae.fit(model, data, epochs=1, prior_steps=5, progress=False)
    assert sum(stage() is not None for stage in stages) == alive

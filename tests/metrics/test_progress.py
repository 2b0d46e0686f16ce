"""The bar of a comparison."""

from __future__ import annotations

import re

import pytest
import torch

from gconvae import metrics
from gconvae.metrics import progress
from gconvae.metrics.progress import Progress


@pytest.fixture
def samples() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.rand(3, 60, 6, 3, generator=generator))


def test_a_comparison_shows_the_time_left_on_the_error_stream(
    samples: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    options = {"metrics": ["features", "sets"], "num_splits": 2, "num_bootstrap": 2}
    wanted = metrics.compare(*samples, **options)
    assert capsys.readouterr() == ("", "")
    assert metrics.compare(*samples, **options, progress=True) == wanted
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"100%.* left", err)


def test_what_is_done_within_two_seconds_has_no_bar(
    samples: list[torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert progress.DELAY == 2.0
    metrics.compare(*samples, metrics="features", num_splits=2, progress=True)
    assert capsys.readouterr() == ("", "")


class Recorder(Progress):
    """Keeps each step, as a share of all."""

    def __init__(self, **_: bool) -> None:
        super().__init__(shown=False)
        self.steps: list[tuple[str, float]] = []
        self.now = ""

    def begin(self, part: str) -> None:
        super().begin(part)
        self.now = part

    def advance(self, share: float) -> None:
        super().advance(share)
        self.steps.append((self.now, share))


def test_every_part_reports_all_of_its_work_in_small_steps(
    samples: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorders: list[Recorder] = []

    def recorder(**options: bool) -> Recorder:
        recorders.append(Recorder(**options))
        return recorders[-1]

    monkeypatch.setattr("gconvae.metrics.comparison.Progress", recorder)
    groups = ["features", "sets", "frechet", "memorization"]
    metrics.compare(
        *samples,
        metrics=groups,
        training=samples[0],
        embedding=lambda nodes, mask: nodes[:, 0],
        num_splits=10,
        num_bootstrap=10,
    )
    (found,) = recorders
    parts = dict.fromkeys(part for part, _ in found.steps)
    shares = {part: [s for name, s in found.steps if name == part] for part in parts}
    assert list(shares) == ["W1", "coverage, MMD, 1-NNA", "Frechet", "memorization"]
    for part in ("W1", "coverage, MMD, 1-NNA", "Frechet"):
        assert max(shares[part]) < 0.5
        # W1 has one subset where both samples have all clouds; resampling a matrix takes no time
        assert 0.6 < sum(shares[part]) < 1.01


def test_a_part_that_is_given_up_counts_as_done_and_none_as_more_than_done() -> None:
    bar = Progress(shown=False)
    with bar.over({"first": 1.0, "second": 3.0}):
        bar.begin("first")
        bar.begin("second")
        bar.advance(0.75)
        bar.advance(0.75)
        assert (bar._left, bar._done) == (0.0, 4.0)


def test_parts_without_expected_work_are_no_error() -> None:
    bar = Progress(shown=False)
    with bar.over({"memorization": 0.0}):
        bar.begin("memorization")
        bar.advance(1.0)

"""How often a bar is drawn, by what looks at it."""

from __future__ import annotations

import io
import sys

import pytest

from gconvae.metrics.progress import drawing_interval


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook(io.StringIO):
    """As ipykernel's stream, which says that it is no terminal."""


Notebook.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize(
    ("stream", "interval"), [(Terminal(), 0.1), (Notebook(), 0.1), (io.StringIO(), 10.0)]
)
def test_a_bar_moves_in_a_terminal_and_a_notebook_and_not_in_a_file(
    stream: io.StringIO, interval: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert drawing_interval() == interval

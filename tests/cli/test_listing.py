"""The command ``gconvae list``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gconvae import datasets, losses, metrics, models, recipes
from gconvae.cli import listing
from gconvae.cli import main as cli
from gconvae.cli.listing import LISTS
from gconvae.training import run_folder

NAMES = {
    "recipes": recipes.available(),
    "models": models.available(),
    "encoders": models.available("encoder"),
    "decoders": models.available("decoder"),
    "priors": models.available("prior"),
    "likelihoods": models.available("likelihood"),
    "losses": losses.available(),
    "pretrained": [f"pretrained:{name}" for name in run_folder.pretrained()],
    "metrics": list(metrics.GROUPS),
}


def listed(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert cli.main(["list", *words]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("what", list(NAMES))
def test_a_list_has_every_name_with_a_line(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(listing, "WIDEST", 400)
    rows = dict(line.split(maxsplit=1) for line in listed([what], capsys))
    assert [name for name in rows if name in NAMES[what]] == list(NAMES[what])
    assert all(len(line) > 8 for line in rows.values())
    assert not any("`" in line for line in rows.values())


def test_bundled_data_that_are_listed_can_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(listed(["data"], capsys))
    for name in ("jets:gluon", "jets:quark", "jets:top", "jets:all"):
        assert f"{name} " in text
        assert datasets.jets.bundled_kinds(name)


def test_without_a_name_all_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = listed([], capsys)
    titles = [line.split(" (")[0] for line in lines if line and not line.startswith(" ")]
    assert titles == list(LISTS)
    assert max(map(len, lines)) <= 80


def test_light_lists_import_nothing_heavy() -> None:
    script = (
        "import sys; from gconvae.cli.main import main; "
        "assert [main(['list', w]) for w in ('recipes', 'models', 'data', 'metrics')] == 4 * [0]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0

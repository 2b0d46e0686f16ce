"""The command ``gconvae completion``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import assert_one_error

from gconvae.cli import main as cli
from gconvae.cli.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_knows_commands_and_options_with_dashes(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert name in script
    assert "batch-size" in script
    assert "--batch_size" not in script


def test_bash_completes_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    file = tmp_path / "completion"
    file.write_text(capsys.readouterr().out)
    typed = (
        f"source {file}; COMP_WORDS=(gconvae train --batch); COMP_CWORD=2; "
        "_shtab_gconvae; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True)
    assert done.stdout.split() == ["--batch-size"], done.stderr


def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert_one_error(["completion", "bash"], r'pip install "gconvae\[completion\]"', capsys)

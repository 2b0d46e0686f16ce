"""The list of what scripts/mutate.py breaks stays true to the code."""

from __future__ import annotations

from pathlib import Path

import mutate
import pytest

ROOT = Path(__file__).resolve().parents[1]
CHANGES = mutate.changes()
PARTS = ("losses", "neighbors", "metrics", "priors", "likelihoods", "training", "schema", "cli")


@pytest.mark.parametrize("file", sorted({change.file for change in CHANGES}))
def test_what_is_to_be_broken_is_there_once(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    for change in CHANGES:
        if change.file == file:
            assert change.broken(text) != text


def test_there_are_enough_changes_in_every_part() -> None:
    assert len(CHANGES) >= 80
    assert len({(change.file, change.before, change.after) for change in CHANGES}) == len(CHANGES)
    assert set(PARTS) <= {change.wing for change in CHANGES}


def test_the_tests_that_should_notice_are_there() -> None:
    for change in CHANGES:
        assert change.tests
        for test in change.tests:
            assert (ROOT / test).exists(), test


def test_a_change_that_is_no_longer_there_is_refused() -> None:
    change = mutate.Change("gconvae/files.py", "nothing", "no such text", "", ())
    with pytest.raises(ValueError, match="before must occur once in gconvae/files.py, got 0"):
        change.broken("text")


def test_a_change_is_caught_by_a_test_that_sees_it_and_undone(tmp_path: Path) -> None:
    source, test = tmp_path / "answer.py", tmp_path / "test_answer.py"
    source.write_text("def answer():\n    return 40 + 2\n")
    test.write_text("from answer import answer\n\n\ndef test_it():\n    assert answer() == 42\n")
    seen = mutate.Change("answer.py", "sign", "40 + 2", "40 - 2", ("test_answer.py",))
    unseen = mutate.Change("answer.py", "order", "40 + 2", "2 + 40", ("test_answer.py",))
    assert mutate.caught(tmp_path, seen)
    assert not mutate.caught(tmp_path, unseen)
    assert source.read_text() == "def answer():\n    return 40 + 2\n"

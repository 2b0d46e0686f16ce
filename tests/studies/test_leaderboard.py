"""The table of variants: what is best, what is as good, and how it is written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gconvae.metrics.report import Row
from gconvae.studies.leaderboard import Leaderboard, Variant


def found(values: dict[str, tuple[float, ...]], better: str = "lower") -> Leaderboard:
    """A comparison by one metric, ``"x W1"``."""
    return Leaderboard(
        variants=tuple(
            Variant(name, {}, 10, 0.5, (1,), {"x W1": v}, {"x W1": (0.1,) * len(v)})
            for name, v in values.items()
        ),
        floors={"x W1": Row("x", "W1", "px", 0.1, 0.01, 0.05, 0.09, better)},
        seeds=(0, 1),
        epochs=3,
        data={"digit": 8},
    )


@pytest.mark.parametrize(
    ("better", "values", "best"),
    [
        (
            "lower",
            {"a": (3.0, 3.2), "b": (1.0, 1.2), "c": (1.1, 1.3), "d": (1.4, 1.4)},
            ["b", "c"],
        ),
        ("higher", {"a": (0.1, 0.12), "b": (0.5, 0.51)}, ["b"]),
        ("0.5", {"a": (0.3, 0.31), "b": (0.55, 0.56), "c": (0.9, 0.9)}, ["b"]),
        ("lower", {"a": (1.0,), "b": (1.1,), "c": (1.2,)}, ["a", "b"]),  # errors of the reports
    ],
)
def test_the_best_is_named_with_those_as_good(
    better: str, values: dict[str, tuple[float, ...]], best: list[str]
) -> None:
    assert found(values, better).best("x W1") == best


def test_mean_spread_and_error_are_those_over_seeds() -> None:
    (variant,) = found({"a": (1.0, 2.0, 3.0)}).variants
    assert variant.mean("x W1") == 2.0
    assert variant.stddev("x W1") == pytest.approx(1.0)
    assert variant.error("x W1") == pytest.approx(1 / math.sqrt(3))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metric must be one of x W1, got 'z W1'"):
        found({"a": (1.0,)}).best("z W1")


def test_markdown_has_a_line_a_variant_and_the_best_in_bold() -> None:
    head, rule, *lines = found({"a": (1.0, 1.2), "b": (3.0, 3.2)}).to_markdown().splitlines()
    assert head == "| variant | parameters | s / epoch | x W1 (px) ↓ |"
    assert rule == "| --- | ---: | ---: | ---: |"
    assert lines == [
        "| a | 10 | 0.5 | **1.10 ± 0.14** |",
        "| b | 10 | 0.5 | 3.10 ± 0.14 |",
        "| real against real |  |  | 0.05 |",
    ]


def test_the_printed_table_is_aligned_and_stars_the_best() -> None:
    head, *lines = str(found({"a": (1.0, 1.2), "longer name": (3.0, 3.2)})).splitlines()
    assert head.startswith("2 seeds, 3 epochs")
    assert lines[1].endswith("1.10 ± 0.14*")
    assert lines[2].startswith("longer name")
    assert lines[1].index("±") == lines[2].index("±")


def test_a_comparison_is_plain_json(tmp_path: Path) -> None:
    table = found({"a": (1.0,), "b": ()})
    table.save(tmp_path / "table.json")
    saved = json.loads((tmp_path / "table.json").read_text())
    assert saved["variants"][0]["metrics"]["x W1"]["stddev"] is None
    assert saved["metrics"]["x W1"]["best"] == ["a"]


def test_a_leaderboard_is_one_line_for_a_debugger() -> None:
    assert repr(found({"a": (3.0, 3.2), "b": (1.0, 1.2)})) == (
        "<Leaderboard of 2 variants, 2 seeds, 3 epochs; best x W1: b>"
    )
    assert repr(found({"a": ()})) == "<Leaderboard of 1 variants, 2 seeds, 3 epochs>"


def test_the_table_of_a_notebook_has_the_best_in_bold_and_escapes_names() -> None:
    html = found({"<a>": (3.0, 3.2), "b": (1.0, 1.2)})._repr_html_()
    assert "&lt;a&gt;" in html
    assert html.count("<b>") == 1
    assert "<b>1.10 ± 0.14</b>" in html
    assert "real against real" in html

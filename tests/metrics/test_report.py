from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gconvae.metrics.report import Report, Row


def make_row(value: float = 0.4, better: str = "lower", **changes: Any) -> Row:
    floor, floor_95 = {
        "lower": (0.2, 0.3),
        "higher": (0.6, 0.5),
        "0": (0.01, 0.1),
        "0.5": (0.49, 0.55),
    }[better]
    return Row("chamfer", "MMD", "", value, 0.02, floor, floor_95, better, **changes)


def make_report(*rows: Row, **changes: Any) -> Report:
    return Report(rows, 974, 974, 1000, 994, 200, 100, 0, **changes)


W1 = (
    Row("x", "W1", "px", 0.3512, 0.0213, 0.0412, 0.0683),
    Row("intensity", "W1", "", 0.0321, 0.0012, 0.0032, 0.0061),
    Row("nodes", "W1", "nodes", 0.0, 0.0, 0.0, 0.0),
)


@pytest.mark.parametrize(
    ("better", "good", "bad"),
    [
        ("lower", [0.0, 0.3], [0.31, 5.0]),
        ("higher", [0.5, 0.9], [0.49, 0.0]),
        ("0", [-3.0, 0.1], [0.11]),
        ("0.5", [0.46, 0.5, 0.54], [0.44, 0.56, 0.0, 1.0]),
    ],
)
def test_beyond_is_what_is_worse_than_real_samples(
    better: str, good: list[float], bad: list[float]
) -> None:
    assert not any(make_row(value, better).beyond for value in good)
    assert all(make_row(value, better).beyond for value in bad)


def test_only_a_distance_has_a_ratio_and_only_to_a_floor_above_zero() -> None:
    assert make_row(0.4).ratio == 0.4 / 0.2
    assert [make_row(0.4, better).ratio for better in ("higher", "0", "0.5")] == [None] * 3
    assert W1[2].ratio is None


def test_table_is_aligned_and_holds_value_error_floor_and_ratio() -> None:
    assert str(make_report(*W1)).splitlines() == [
        "974 clouds on each side; floor: real against real, 200 random splits",
        "x W1 (px)          0.351 +- 0.021     floor 0.041 (95 %: 0.068)     8.52 x floor",
        "intensity W1       0.0321 +- 0.0012   floor 0.0032 (95 %: 0.0061)   10 x floor",
        "nodes W1 (nodes)   0.0 +- 0.0         floor 0.0 (95 %: 0.0)         -",
    ]


def test_table_says_what_is_better_how_many_clouds_and_splits_and_what_is_missing() -> None:
    rows = (
        Row("chamfer", "coverage", "", 0.51, 0.02, 0.55, 0.53, "higher", 974, 200),
        Row("points", "AUC", "", 1.0, 0.0, 0.49, 0.53, "0.5", 500, 8),
        Row("embedding", "kernel", "", -0.00031, 0.004, 0.00001, 0.0037, "0", 974, 100),
    )
    report = make_report(*rows, left_out={"Frechet": "too few clouds"})
    cells = [line.split("   ") for line in str(report).splitlines()[1:]]
    assert [[cell.strip() for cell in line if cell] for line in cells] == [
        [
            "chamfer coverage (higher is better)",
            "0.510 +- 0.020",
            "floor 0.550 (95 %: 0.530)",
            "-",
        ],
        [
            "points AUC (0.5 is best)",
            "1.000 +- 0.000",
            "floor 0.490 (95 %: 0.530; 8 splits; 500 clouds)",
            "-",
        ],
        [
            "embedding kernel (0 is best)",
            "-0.0003 +- 0.0040",
            "floor 0.0000 (95 %: 0.0037; 100 splits)",
            "-",
        ],
        ["left out: Frechet: too few clouds"],
    ]


def test_saved_report_loads_as_it_was(tmp_path: Path) -> None:
    report = make_report(*W1, make_row(0.1, "0.5", num_splits=8), left_out={"kernel": "no image"})
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_dictionary_is_strict_json_with_ratios_and_verdicts() -> None:
    report = make_report(*W1, left_out={"kernel": "no image"})
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["rows"][0]["ratio"] == 0.3512 / 0.0412
    assert values["rows"][-1]["ratio"] is None
    assert [row["beyond"] for row in values["rows"]] == [True, True, False]
    assert (values["num_clouds"], values["left_out"]) == (974, {"kernel": "no image"})


def test_failed_save_keeps_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    report = make_report(*W1)
    report.save(path)

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        make_report(*W1[:1]).save(path)
    assert Report.load(path) == report
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_saving_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        make_report(*W1).save(tmp_path / "missing" / "report.json")


def test_loading_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a saved report"):
        Report.load(tmp_path / "report.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"name": "x"}]}', '{"rows": []}'])
def test_loading_another_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match="path must hold a saved report"):
        Report.load(tmp_path / "report.json")


def test_unknown_row_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\(x W1, .*, nodes W1\), got z W1"):
        make_report(*W1).row("z")


def test_a_report_is_one_line_for_a_debugger() -> None:
    assert repr(make_report(*W1)) == (
        "<Report of 3 metrics, 2 beyond 95 % of real pairs; 974 clouds on each side>"
    )


def test_the_table_of_a_notebook_has_the_numbers_of_the_printed_one() -> None:
    html = make_report(*W1, left_out={"Frechet": "too few <clouds>"})._repr_html_()
    for text in ("x W1 (px)", "0.351 ± 0.021", "0.041", "0.068", "8.52", "200 random splits"):
        assert text in html
    assert "too few &lt;clouds&gt;" in html


def test_markdown_has_a_line_a_metric_and_says_what_a_row_has_of_its_own() -> None:
    row = Row("points", "AUC", "", 0.6, 0.02, 0.49, 0.53, "0.5", 500, 8)
    lines = make_report(*W1, row).to_markdown().splitlines()
    assert lines[0] == (
        "| metric | value | real against real | 95 % of real pairs | value / real |"
    )
    assert lines[2] == "| x W1 (px) | 0.351 ± 0.021 | 0.041 | 0.068 | 8.52 |"
    assert lines[5].startswith(
        "| points AUC (0.5 is best); 8 splits; 500 clouds | 0.600 ± 0.020 |"
    )
    assert lines[-1].startswith("974 clouds on each side. Errors are standard errors")


def test_a_report_comes_back_from_its_dict() -> None:
    report = make_report(*W1)
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report

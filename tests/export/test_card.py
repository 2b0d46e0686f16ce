"""The model card: what it says, that the hub can read it, and that it quotes text as text."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import SMALL
from huggingface_hub import ModelCard
from stub_hub import StubHub

import gconvae
from gconvae.cli import main as cli
from gconvae.export import model_card
from gconvae.metrics import Report
from gconvae.metrics.report import Row
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.schema import CloudSchema, Feature
from gconvae.studies import Experiment

FEATURES = (Feature("x", "mm", position=True, low=0.0, high=9.0), Feature("charge", "e"))
SECTIONS = ["Use", "Schema", "Training data", "Settings", "Seed and command", "Metrics"]


def model_of(schema: CloudSchema, **options: Any) -> gconvae.VAE:
    small = {"encoder": "deep_sets", "decoder": "dense(hidden=[4])", "latent_dim": 2}
    return gconvae.models.create(schema=schema, num_points=5, **small | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gconvae.Run:
    """A short training of eights by options, as ``gconvae train`` does it."""
    model = ModelOptions(hidden=8, channels=(2, 2, 2))
    training = TrainingOptions(epochs=2, beta=0.5, threads=1)
    folder = tmp_path_factory.mktemp("runs") / "eights"
    run = Experiment(model=model, training=training).run(folder, progress=False)
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
    clouds = run.model.sample_clouds(100, seed=0)
    few = {"num_splits": 5, "num_bootstrap": 5, "metrics": "features"}
    gconvae.metrics.compare(data, clouds, **few).save(folder / "report_generated.json")
    return run


@pytest.fixture(scope="module")
def card(run: gconvae.Run) -> str:
    return model_card(run, "me/eights")


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()


def front_matter(card: str) -> dict[str, Any]:
    """What the hub reads."""
    read: dict[str, Any] = ModelCard(card).data.to_dict()
    return read


def test_the_hub_reads_the_front_matter(card: str) -> None:
    assert {k: v for k, v in front_matter(card).items() if k != "model-index"} == {
        "library_name": "gconvae",
        "license": "cc-by-sa-3.0",
        "pipeline_tag": "other",
        "tags": ["gconvae", "point-cloud", "variational-autoencoder"],
    }


def test_the_hub_reads_the_metrics_of_generated_clouds(card: str, run: gconvae.Run) -> None:
    assert run.folder is not None
    report = Report.load(run.folder / "report_generated.json")
    results = ModelCard(card).data.eval_results
    assert ModelCard(card).data.model_name == "eights"
    assert [each.metric_name for each in results] == [
        f"{row.name} {row.metric} ({row.unit})" if row.unit else f"{row.name} {row.metric}"
        for row in report.rows
    ]
    first, row = results[0], report.rows[0]
    assert (first.metric_type, first.metric_value) == (row.metric, row.value)
    assert first.metric_args["real_against_real"] == row.floor
    assert (first.dataset_name, first.dataset_config) == ("superpixel digits", "8")
    assert first.dataset_split == "test"


def test_a_model_alone_has_no_metrics_for_the_hub() -> None:
    assert "model-index" not in front_matter(
        model_card(model_of(CloudSchema(FEATURES)), "me/mine")
    )


def test_names_of_metrics_are_text_in_the_front_matter(run: gconvae.Run, tmp_path: Path) -> None:
    assert run.folder is not None
    folder = shutil.copytree(run.folder, tmp_path / "run")
    report = Report.load(folder / "report_generated.json")
    rows = (dataclasses.replace(report.rows[0], name=HOSTILE, unit=HOSTILE), *report.rows[1:])
    dataclasses.replace(report, rows=rows).save(folder / "report_generated.json")
    results = ModelCard(model_card(folder, "me/mine")).data.eval_results
    assert results[0].metric_name == f"{HOSTILE} W1 ({HOSTILE})"
    assert len(results) == len(rows)


def test_a_card_has_its_sections_in_order(card: str) -> None:
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == [*SECTIONS, "Licence", "Versions"]


def test_the_lines_to_load_it_are_python(card: str) -> None:
    lines = section(card, "Use").split("```python\n")[1].split("```")[0]
    assert 'model = gconvae.load("hf:me/eights")' in lines
    assert "# points (1000, 25, 3), mask, in data units" in lines
    compile(lines, "card", "exec")


def test_the_schema_says_unit_range_and_order(card: str) -> None:
    text = section(card, "Schema")
    assert "| x | px | 0 to 27 | position | - |" in text
    assert "| intensity | 1 | 0 to 1 | feature | - |" in text
    assert "-intensity, y, x" in text


def test_the_data_are_named_with_counts_and_checksums(card: str, run: gconvae.Run) -> None:
    text = section(card, "Training data")
    assert "The superpixel digits that come with gconvae: digit 8." in text
    assert f"| training | 4,857 | {run.manifest['train']['sha256'][:16]} |" in text


def test_settings_are_those_that_differ_from_the_defaults(card: str) -> None:
    text = section(card, "Settings")
    assert "| beta | 0.5 |" in text
    assert "| epochs | 2 |" in text
    assert "batch\\_size | " not in text
    assert "| decoder | conv |" in text


def test_seed_and_command_are_said(card: str) -> None:
    text = section(card, "Seed and command")
    assert text.startswith("Seed: 0; threads: 1; device: cpu.")
    assert "hf download me/eights --local-dir runs/eights\ngconvae reproduce runs/eights" in text


def test_metrics_have_error_bars_and_the_real_against_real_baseline(
    card: str, run: gconvae.Run
) -> None:
    text = section(card, "Metrics")
    assert text.index("held-out test clouds") < text.index("validation clouds")
    assert run.folder is not None
    row = Report.load(run.folder / "report_generated.json").row("x")
    (line,) = [line for line in text.splitlines() if line.startswith("| x W1 ")][:1]
    name, value, floor, floor_95, _ = [cell.strip() for cell in line.strip("|").split("|")]
    assert name == "x W1 (px)"
    assert [float(part) for part in value.split("±")] == pytest.approx(
        [row.value, row.error], rel=0.1
    )
    assert float(floor) == pytest.approx(row.floor, rel=0.2)
    assert float(floor_95) == pytest.approx(row.floor_95, rel=0.2)
    assert "real against real | 95 % of real pairs" in text


def test_versions_are_those_of_the_training(card: str) -> None:
    assert f"| torch | {torch.__version__.split('+')[0]}" in section(card, "Versions")


def test_a_model_alone_says_what_it_does_not_know() -> None:
    card = model_card(model_of(CloudSchema(FEATURES)), "me/mine")
    assert "license" not in front_matter(card)
    assert section(card, "Training data").startswith("Not recorded")
    assert section(card, "Seed and command").startswith("How to train it again was not recorded")
    assert section(card, "Metrics").startswith("None were recorded")
    assert section(card, "Licence") == "Not stated. Ask who published it."


def test_a_run_of_custom_clouds_says_so_and_states_no_licence(tmp_path: Path) -> None:
    schema = CloudSchema(FEATURES)
    data = gconvae.datasets.from_points(torch.rand(40, 5, 2), schema=schema)
    run = gconvae.fit(model_of(schema), data, epochs=1, out=tmp_path / "run", progress=False)
    card = model_card(tmp_path / "run", "me/mine")
    assert section(card, "Training data").startswith("Custom clouds.")
    assert 'gconvae.reproduce("runs/mine", data)' in section(card, "Seed and command")
    assert "license" not in front_matter(card)
    assert card == model_card(run, "me/mine")


def test_the_command_for_a_file_of_clouds_runs(
    tmp_path: Path, hub: StubHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "clouds.npz", points=np.random.default_rng(0).random((60, 5, 3)))
    small = [*SMALL, "--epochs", "1", "--count", "15"]
    words = ["train", "--data", str(tmp_path / "clouds.npz"), *small]
    assert cli.main([*words, "--out", str(tmp_path / "mine")]) == 0
    gconvae.export.push_to_hub(tmp_path / "mine", "me/mine", token="hf_secret")
    files = hub.repositories["me/mine"][-1]
    text = section(files["README.md"].decode(), "Seed and command")
    assert "The clouds are not part of the repository." in text
    assert "gconvae reproduce" not in text  # it would look for the file of this machine
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "runs/mine").mkdir(parents=True)
    for name, content in files.items():  # the first line of the command
        (elsewhere / "runs/mine" / name).write_bytes(content)
    monkeypatch.chdir(elsewhere)
    download, train = text.split("```shell\n")[1].split("\n```")[0].splitlines()
    assert download == "hf download me/mine --local-dir runs/mine"
    program, *words = train.replace("YOUR_FILE", str(tmp_path / "clouds.npz")).split()
    assert program == "gconvae"
    assert cli.main(words) == 0
    first, again = gconvae.load(tmp_path / "mine"), gconvae.load("runs/again")
    assert torch.equal(first.sample(3, seed=0), again.sample(3, seed=0))


def test_licence_and_command_can_be_said(run: gconvae.Run) -> None:
    card = model_card(run, "me/eights", license="mit", command="make all\n```\nrm x")
    assert front_matter(card)["license"] == "mit"
    assert "under `mit`" in section(card, "Licence")
    assert "MNIST" not in section(card, "Licence")
    assert "````shell\nmake all\n```\nrm x\n````" in section(card, "Seed and command")


@pytest.mark.parametrize("license", ["", "MIT License", "mit\ntags: [x]", "-mit"])
def test_a_licence_that_the_hub_has_no_name_for_is_refused(license: str) -> None:
    with pytest.raises(ValueError, match="license must be a name of the hub") as caught:
        model_card("pretrained:eights", license=license)
    assert repr(license) in str(caught.value)


@pytest.mark.parametrize("name", ["eights", "me/eights\n```", 'me/"eights'])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match='must be named "user/name"'):
        model_card("pretrained:eights", name)


def test_bundled_jets_are_under_the_library_s_licence() -> None:
    card = model_card("pretrained:gluon", "me/gluon")
    assert front_matter(card)["license"] == "mit"
    assert "The jets that come with gconvae: gluon." in section(card, "Training data")
    assert "### Generated against held-out test clouds" in section(card, "Metrics")
    assert "was not recorded" in section(card, "Seed and command")  # it has no history


def test_a_model_of_classes_is_asked_for_one() -> None:
    model = model_of(CloudSchema(FEATURES, classes=("up", "down")), num_classes=2)
    card = model_card(model, "me/mine")
    assert "sample_clouds(1000, seed=0, label=0)" in section(card, "Use")
    assert "Classes: up, down." in section(card, "Schema")


HOSTILE = '<script>x</script> | [a](http://b) `c`\n# d\n---\n"e"'


def test_text_of_a_user_is_shown_and_not_read(run: gconvae.Run) -> None:
    hostile = Feature(HOSTILE, HOSTILE, position=True)
    schema = CloudSchema((hostile, FEATURES[1]), name=HOSTILE, classes=(HOSTILE,))
    config = {"data": HOSTILE, "digit": 8, "loss": HOSTILE}
    manifest = {**run.manifest, "config": config}
    told = gconvae.Run(model_of(schema, num_classes=1), run.history, manifest)
    card = model_card(told, "me/mine")
    assert front_matter(card).keys() == front_matter(model_card("pretrained:gluon")).keys() - {
        "license",
        "model-index",
    }
    for line in card.split("## Schema")[1].splitlines():
        assert "<script" not in line
        assert "[a](" not in line
        assert not line.startswith("# d")
        assert " | \\[a" not in line  # which would be one column more


def test_a_hostile_report_stays_in_its_cells() -> None:
    rows = (Row(HOSTILE, "W1", HOSTILE, 1.0, 0.1, 0.5, 0.7),)
    report = Report(rows, 9, 9, 9, 0, 5, 5, 0, left_out={HOSTILE: HOSTILE})
    text = report.to_markdown()
    assert "<script" not in text
    assert "[a](" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("| &lt;script")]
    assert len(line.replace("\\|", "").strip("|").split("|")) == 5


def test_a_schema_of_an_older_model_is_enough() -> None:
    bare = dataclasses.replace(CloudSchema(FEATURES), name="")
    assert "sparse clouds of 5 nodes" in model_card(model_of(bare), "me/mine")

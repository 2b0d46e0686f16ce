from __future__ import annotations

import ast
import csv
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import wasserstein_distance

import gconvae
from gconvae import models
from gconvae.scaling import FeatureScaling
from gconvae.training import run_folder
from gconvae.training.history import write_history
from gconvae.vae import VAE


def small(**options: Any) -> VAE:
    """An untrained model in a range that is no image's."""
    options = {"hidden": 16, "channels": (2, 3), "latent_dim": 4, "seed": 5} | options
    model = models.create("convae", **options)
    model.scaling = FeatureScaling(
        torch.tensor([-1.0, 0.1, 0.0]), torch.tensor([1.0, 0.7, 500.0]), extent=10.0
    )
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a saved model."""
    made = tmp_path / "run"
    made.mkdir()
    run_folder.save_model(small(), made)
    return made


# there and back


def test_a_loaded_model_has_the_same_weights_and_samples_to_the_last_bit(folder: Path) -> None:
    model, loaded = small(), gconvae.load(folder)
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(loaded.sample(20, seed=3), model.sample(20, seed=3))


def test_a_loaded_model_reconstructs_the_same_bits(folder: Path) -> None:
    points = torch.rand(6, 25, 3, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.1
    assert torch.equal(gconvae.load(folder).reconstruct(points), small().reconstruct(points))


def test_a_loaded_model_has_the_range_and_units_of_the_saved(folder: Path) -> None:
    scaling, wanted = gconvae.load(str(folder)).scaling, small().scaling
    assert torch.equal(scaling.low, wanted.low)
    assert torch.equal(scaling.high, wanted.high)
    assert scaling.extent == wanted.extent == 10.0


def test_a_loaded_model_is_ready_to_use_and_can_be_saved_again(
    folder: Path, tmp_path: Path
) -> None:
    loaded = gconvae.load(folder)
    assert not loaded.training
    assert loaded.device.type == "cpu"
    again = tmp_path / "again"
    again.mkdir()
    run_folder.save_model(loaded, again)
    assert torch.equal(gconvae.load(again).sample(4), loaded.sample(4))


@pytest.mark.parametrize(
    "options", [{"padding": 0}, {"num_points": 40}, {"channels": [4]}, {"num_points": 9}]
)
def test_every_shape_of_network_comes_back(tmp_path: Path, options: dict[str, Any]) -> None:
    run_folder.save_model(small(**options), tmp_path)
    assert torch.equal(gconvae.load(tmp_path).sample(4), small(**options).sample(4))


def test_loading_neither_reads_nor_changes_global_random_numbers(folder: Path) -> None:
    wanted = gconvae.load(folder).sample(3)
    torch.manual_seed(77)
    before = torch.get_rng_state()
    assert torch.equal(gconvae.load(folder).sample(3), wanted)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_training_comes_back_from_its_folder(tmp_path: Path) -> None:
    data = gconvae.datasets.SuperpixelMNIST(8, "test")[:60]
    model = models.create("convae", hidden=16, channels=(2, 3), seed=0)
    run = gconvae.fit(model, data, epochs=1, out=tmp_path / "run", progress=False)
    loaded = gconvae.load(tmp_path / "run")
    assert torch.equal(loaded.sample(5, seed=2), run.model.sample(5, seed=2))
    assert torch.equal(loaded.reconstruct(data.points), run.model.reconstruct(data.points))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_loaded_model_can_be_moved_to_a_gpu(folder: Path) -> None:
    made = gconvae.load(folder).to("cuda").sample(4)
    torch.testing.assert_close(made.cpu(), small().sample(4), rtol=1e-3, atol=1e-3)


# what goes wrong


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder must hold.*absent does not exist"):
        gconvae.load(tmp_path / "absent")


@pytest.mark.parametrize("missing", ["model.json", "model.safetensors"])
def test_an_unfinished_folder_is_one_clear_error(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"folder must hold {missing}.*no finished"):
        gconvae.load(folder)


def test_a_file_instead_of_a_folder_is_one_clear_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder must hold"):
        gconvae.load(folder / "model.json")


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.98])
def test_a_truncated_file_is_one_clear_error(folder: Path, file: str, kept: float) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="damaged"):
        gconvae.load(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00garbage", b"name: convae", b"{'a': 1}"])
def test_a_description_that_is_no_json_is_one_clear_error(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        gconvae.load(folder)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "model.json"
    description = json.loads(path.read_text())
    changed = change(description)
    path.write_text(json.dumps(description if changed is None else changed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: [1, 2], "format"),
        (lambda d: d.update(format=999), "format 3.*999"),
        (lambda d: d.pop("format") and None, "format"),
        (lambda d: d.pop("encoder") and None, "model.json"),
        (lambda d: d["decoder"].pop("name") and None, "model.json"),
        (lambda d: d["prior"].pop("options") and None, "model.json"),
        (lambda d: d.pop("extent") and None, "model.json"),
        (lambda d: d["encoder"].update(options=3), "model.json"),
        (lambda d: d.update(extent="wide"), "model.json"),
        (
            lambda d: d["encoder"].update(name="other"),
            "encoder must be one of conv,.*'other'.*--p",
        ),
        (lambda d: d["encoder"].update(name="conv()+conv"), "encoder must be one part"),
        (lambda d: d["encoder"]["options"].update(width=3), "got width"),
        (lambda d: d["encoder"]["options"].update(hidden=17), "model.safetensors must fit"),
        (lambda d: d["decoder"]["options"].update(channels=[2, 3, 4]), "safetensors must fit"),
    ],
)
def test_a_description_that_does_not_fit_is_one_clear_error(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message):
        gconvae.load(folder)


@pytest.mark.parametrize("what", ["scaling.low", "scaling.high", "encoder.dense.weight", "more"])
def test_weights_that_do_not_fit_are_one_clear_error(folder: Path, what: str) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    if what == "more":
        state["decoder.more"] = torch.zeros(3)
    else:
        del state[what]
    save_file(state, path)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        gconvae.load(folder)


def test_weights_of_another_model_are_one_clear_error(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run_folder.save_model(small(hidden=17), other)
    shutil.copy(other / "model.safetensors", folder)
    with pytest.raises(ValueError, match=r"model\.safetensors must fit .*model\.json"):
        gconvae.load(folder)


class Exploit:
    """Runs code when unpickled."""

    ran = False

    def __reduce__(self) -> Any:
        return setattr, (Exploit, "ran", True)


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("how", [pickle.dump, torch.save])
def test_loading_never_runs_code_from_a_file(
    folder: Path, file: str, how: Callable[..., None]
) -> None:
    with (folder / file).open("wb") as handle:
        how(Exploit(), handle)
    with pytest.raises(ValueError, match="damaged"):
        gconvae.load(folder)
    assert not Exploit.ran


def test_the_source_has_no_call_that_could_unpickle() -> None:
    tree = ast.parse(Path(run_folder.__file__).read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "load_file" in calls
    assert (
        calls & {"torch.load", "pickle.load", "pickle.loads", "eval", "exec", "np.load"} == set()
    )


def test_a_model_of_registered_parts_loads_by_itself(tmp_path: Path) -> None:
    model = small()
    own = VAE(model.encoder, model.decoder, model.prior, model.scaling)
    gconvae.save(own, tmp_path / "own")
    loaded = gconvae.load(tmp_path / "own")
    assert torch.equal(loaded.sample(3, seed=1), own.sample(3, seed=1))


def test_an_unregistered_part_is_refused_with_the_line_to_write(tmp_path: Path) -> None:
    class MyEncoder(type(small().encoder)):  # type: ignore[misc]
        pass

    model = small()
    own = VAE(MyEncoder(), model.decoder, model.prior, model.scaling)
    with pytest.raises(ValueError, match=r'@gconvae\.registry\.register\("encoder", .*MyEncoder'):
        gconvae.save(own, tmp_path / "own")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_saved_in_a_new_folder_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a new folder"):
        gconvae.save(small(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# writing


def test_a_failed_write_of_the_weights_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        run_folder.save_model(small(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no finished training"):
        gconvae.load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run_folder.write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        run_folder.write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    run_folder.write_json({"a": 2}, path)
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_history_keeps_every_bit_of_its_numbers(tmp_path: Path) -> None:
    history = {"epoch": [1, 2], "train_loss": [0.1 + 0.2, 1e-300], "valid_loss": [1 / 3, 1e22]}
    write_history(history, tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == history
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_folders_are_numbered_where_the_wanted_one_exists(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        folder = run_folder.free_folder(tmp_path / "eights")
        folder.mkdir()
        names.append(folder.name)
    assert names == ["eights", "eights-2", "eights-3"]


def some_manifest(**more: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {part: {} for part in run_folder.COMPARED}
    return {"config": {"beta": 1.0}, **parts, **more}


def test_a_run_begins_in_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert run_folder.begin(folder, some_manifest()) == folder
    assert run_folder.read_manifest(folder) == some_manifest()
    assert json.loads((folder / "config.yaml").read_text()) == {"beta": 1.0}


def test_a_manifest_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        run_folder.begin(tmp_path / "run", some_manifest(options={"beta": object()}))
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_must_be_the_begun_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = {"beta": 1.0, "widths": (1, 2), "workers": 0}
    run_folder.begin(folder, some_manifest(options=options))
    left = folder / ".last.7.partial.ckpt"
    left.write_text("half")
    same = some_manifest(options={"beta": 1.0, "widths": (1, 2), "workers": 2}, threads=3)
    assert run_folder.begin(folder, same, resume=True) == folder
    assert not left.exists()
    with pytest.raises(ValueError, match=r"resume must keep .* options beta = 0.5, was 1.0"):
        run_folder.begin(folder, some_manifest(options={"beta": 0.5}), resume=True)


def test_another_machine_is_said_when_a_run_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_folder.begin(folder, some_manifest(machine={"torch": "2.14", "device": "cpu"}))
    now = some_manifest(machine={"torch": "2.15", "device": "cpu"})
    with pytest.warns(UserWarning, match=r"begun with torch 2.14, now it is 2.15"):
        run_folder.begin(folder, now, resume=True)


def test_there_must_be_a_begun_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must hold a begun run"):
        run_folder.begin(tmp_path, some_manifest(), resume=True)
    (tmp_path / "manifest.json").write_text('{"options": {}')
    with pytest.raises(ValueError, match="damaged"):
        run_folder.begin(tmp_path, some_manifest(), resume=True)
    (tmp_path / "manifest.json").write_text('{"options": {}}')
    with pytest.raises(ValueError, match="must hold options, model"):
        run_folder.begin(tmp_path, some_manifest(), resume=True)


def test_a_folder_with_something_in_it_is_refused_and_left_untouched(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"out must be a new folder, .*run exists"):
        run_folder.begin(folder, some_manifest())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_versions_and_machine_are_named() -> None:
    found = run_folder.environment(["torch", "no-such-package-anywhere"])
    assert found["torch"]
    assert found["no-such-package-anywhere"] is None
    assert found.keys() >= {"python", "system", "processor", "instructions"}
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_the_processor_is_named_where_the_system_does_not_list_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreadable(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", unreadable)
    monkeypatch.setattr(run_folder.platform, "processor", lambda: "Abacus 3")
    assert run_folder.environment([])["processor"] == "Abacus 3"


def test_a_description_names_the_seed_of_new_weights_only(tmp_path: Path) -> None:
    model = small()
    assert run_folder.describe(model)["initial_seed"] == model.initial_seed
    run_folder.save_model(model, tmp_path)
    assert run_folder.describe(run_folder.load(tmp_path))["initial_seed"] is None


def test_a_description_tells_feature_ranges_apart_where_they_matter() -> None:
    model = small()
    before = [run_folder.describe(model, with_scaling=matter) for matter in (False, True)]
    model.scaling = FeatureScaling(model.scaling.low - 1, model.scaling.high)
    after = [run_folder.describe(model, with_scaling=matter) for matter in (False, True)]
    assert before[0] == after[0]
    assert before[1] != after[1]


# bundled models


def test_bundled_eights_have_the_features_of_real_ones() -> None:
    model = gconvae.load("pretrained:eights")
    test = gconvae.datasets.SuperpixelMNIST(8, "test")
    generated = model.sample(len(test), seed=0)
    report = gconvae.metrics.compare(test, generated, metrics="features", num_bootstrap=2)
    # the slides' network is at 7 to 11 floors of samples twice as large
    assert [report.row(name).ratio < 2.5 for name in ("x", "y", "intensity")] == [True] * 3


def test_bundled_digits_are_those_that_are_asked_for() -> None:
    model = gconvae.load("pretrained:digits")
    labels = torch.arange(10).repeat_interleave(40)
    drawn = model.sample_clouds(len(labels), seed=0, label=labels)
    assert torch.equal(drawn.labels, labels)
    seen = gconvae.metrics.load()(drawn.points).argmax(1)
    # of real test clouds, 99.1 % are called right
    assert float((seen == labels).float().mean()) > 0.94
    test = gconvae.datasets.SuperpixelMNIST(None, "test")
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:2000]
    drawn = model.sample_clouds(2000, seed=1, label=test[rows].labels)
    report = gconvae.metrics.compare(test[rows], drawn, metrics="features", num_bootstrap=2)
    assert [report.row(name).ratio < 2.5 for name in ("x", "y", "intensity")] == [True] * 3


def test_bundled_gluons_have_the_mass_and_the_particles_of_simulated_ones() -> None:
    model = gconvae.load("pretrained:gluon")
    assert model.schema.names == gconvae.schema.JETS.names
    test = gconvae.datasets.Jets("gluon", "test")[:1500]
    generated = model.sample_clouds(len(test), seed=0)
    report = gconvae.metrics.compare(test, generated, metrics="features", num_bootstrap=2)
    rows = ("eta_rel", "phi_rel", "pt_rel")
    assert [report.row(name).ratio < 2.5 for name in rows] == [True] * len(rows)
    # floors of 1,500 jets are 0.0029 and 0.004; without totals, mass and pT were at three
    found = [
        wasserstein_distance(of(test), of(generated))
        for of in (gconvae.metrics.jets.mass, gconvae.metrics.jets.pt)
    ]
    assert found[0] < 2.5 * 0.0029
    assert found[1] < 2.5 * 0.004
    flow = gconvae.metrics.jets.w1efp(test, generated, num_eval_samples=1500, num_batches=3)
    assert flow.mean.value < 2.5 * 1.8e-4


def test_bundled_weights_are_single_precision_once_they_are_loaded() -> None:
    model = gconvae.load("pretrained:eights")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(model.likelihood.step, torch.tensor([1 / 16, 1 / 16, 1 / 255]))


@pytest.mark.parametrize("name", run_folder.pretrained())
def test_the_manifest_of_a_bundled_model_names_its_clouds(name: str) -> None:
    manifest = run_folder.read_manifest(f"pretrained:{name}")
    experiment = gconvae.studies.Experiment.from_config(manifest["config"])
    assert manifest["train"]["sha256"] == experiment.splits.train.checksum()


def test_a_model_that_is_not_bundled_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of .*pretrained:eights.*, got pretrained:x"):
        gconvae.load("pretrained:x")


def test_the_bundled_models_take_at_most_16_mb() -> None:
    folder = Path(gconvae.__file__).parent / "data" / "pretrained"
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    assert 0 < sum(sizes) < 16e6

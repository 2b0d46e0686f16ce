"""Models of the hub: uploaded to a hub on this machine, and loaded from it by huggingface_hub."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from stub_hub import StubHub

import gconvae
from gconvae.export.hub import WANTED, hub_folder
from gconvae.training.run_folder import read_manifest

constants = importlib.import_module("huggingface_hub.constants")
errors = importlib.import_module("huggingface_hub.errors")


@pytest.fixture(scope="module")
def model() -> gconvae.VAE:
    return small_model()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> gconvae.Run:
    """A short training of eights, with a run folder."""
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:40]
    folder = tmp_path_factory.mktemp("runs") / "small"
    return gconvae.fit(small_model(), data, epochs=1, seed=3, out=folder, progress=False)


def small_model() -> gconvae.VAE:
    return gconvae.models.create("convae", hidden=8, channels=(2, 2, 2), latent_dim=2, seed=0)


def same_samples(first: gconvae.VAE, second: gconvae.VAE) -> bool:
    return torch.equal(first.sample(3, seed=1), second.sample(3, seed=1))


def test_a_model_comes_back_as_it_was_pushed(hub: StubHub, model: gconvae.VAE) -> None:
    address = model.push_to_hub("me/eights", token="hf_secret")
    assert address == f"{hub.address}/me/eights"
    assert same_samples(gconvae.load("hf:me/eights"), model)


def test_options_of_an_upload_reach_the_hub(hub: StubHub, model: gconvae.VAE) -> None:
    model.push_to_hub("me/hidden", private=True, commit_message="First", token="hf_secret")
    assert hub.private == {"me/hidden": True}
    assert hub.messages == ["First"]
    assert hub.tokens == {"Bearer hf_secret"}


@pytest.mark.parametrize("first", [True, False, None])
def test_private_must_be_what_the_repository_is(
    hub: StubHub, model: gconvae.VAE, first: bool | None
) -> None:
    model.push_to_hub("me/eights", private=first, token="hf_secret")
    assert hub.private == {"me/eights": bool(first)}
    for same in (bool(first), None):
        model.push_to_hub("me/eights", private=same, token="hf_secret")
    commits = list(hub.repositories["me/eights"])
    with pytest.raises(ValueError, match=rf"what me/eights is, {bool(first)}, got {not first}"):
        model.push_to_hub("me/eights", private=not first, token="hf_secret")
    assert hub.repositories["me/eights"] == commits
    assert hub.private == {"me/eights": bool(first)}


def test_a_model_alone_uploads_weights_and_card(hub: StubHub, model: gconvae.VAE) -> None:
    model.push_to_hub("me/eights", token="hf_secret", license="mit")
    files = hub.repositories["me/eights"][-1]
    assert sorted(files) == ["README.md", "model.json", "model.safetensors"]
    assert b"license: mit" in files["README.md"]


@pytest.mark.parametrize("form", ["run", "folder", "path"])
def test_a_run_uploads_what_it_knows(hub: StubHub, run: gconvae.Run, form: str) -> None:
    source: Any = {"run": run, "folder": str(run.folder), "path": run.folder}[form]
    gconvae.export.push_to_hub(source, "me/run", token="hf_secret")
    files = hub.repositories["me/run"][-1]
    assert sorted(files) == [
        *("README.md", "config.yaml", "history.csv", "manifest.json"),
        *("model.json", "model.safetensors", "report_valid.json"),
    ]
    assert b"Seed: 3;" in files["README.md"]
    assert read_manifest("hf:me/run") == json.loads(json.dumps(run.manifest))


def test_a_downloaded_run_can_be_reproduced(
    hub: StubHub, run: gconvae.Run, tmp_path: Path
) -> None:
    gconvae.export.push_to_hub(run, "me/run", token="hf_secret")
    for path, content in hub.repositories["me/run"][-1].items():  # as hf download does
        (tmp_path / path).write_bytes(content)
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:40]
    assert gconvae.reproduce(tmp_path, data, model=small_model(), progress=False).identical


def test_a_run_without_folder_uploads_its_manifest_and_history(
    hub: StubHub, run: gconvae.Run
) -> None:
    bare = gconvae.Run(run.model, run.history, run.manifest)
    gconvae.export.push_to_hub(bare, "me/run", token="hf_secret")
    assert {"manifest.json", "history.csv"} <= hub.repositories["me/run"][-1].keys()


SECRET = "/home/me (old)/secret"

PRIVATE_OPTIONS: dict[str, Any] = {
    "callbacks": [
        f'ModelCheckpoint(dirpath="{SECRET}", save_top_k=2)',
        f'network: ModelCheckpoint(dirpath="{SECRET}")',
        "LearningRateFinder(update_attr='C:\\\\secret')",
        f"not_a_call(({SECRET}",
        'EarlyStopping(monitor="network/valid_kl", patience=5)',
    ],
    "logger": f'CSVLogger(save_dir="{SECRET}") + csv',
    "encoder": 'mine(weights="secret/mine.pt", width=3)',
    "optimizer": "adam(state='~/secret/state.pt')",
    "strategy": f"{SECRET}/strategy.py",
    "loss": "Mine(table=/home/secret/table.npz, power=0.5)",
    "storage": "file:/secret/studies.db",
}

PUBLIC_OPTIONS = {
    "callbacks": [
        *("ModelCheckpoint(save_top_k=2)", "network: ModelCheckpoint", "LearningRateFinder"),
        *("not_a_call", 'EarlyStopping(monitor="network/valid_kl", patience=5)'),
    ],
    "logger": "CSVLogger + csv",
    "encoder": 'mine(weights="mine.pt", width=3)',
    "optimizer": "adam(state='state.pt')",
    "strategy": "strategy.py",
    "loss": "Mine(table=table.npz, power=0.5)",
    "storage": "studies.db",
}


@pytest.mark.parametrize("form", ["run", "folder"])
def test_folders_of_this_machine_are_not_published(
    hub: StubHub, run: gconvae.Run, form: str, tmp_path: Path
) -> None:
    data = {"data": "/home/me/secret/jets.hdf5", "digit": 8}
    manifest = {
        **run.manifest,
        "config": run.manifest["config"] | data | PRIVATE_OPTIONS,
        "options": run.manifest["options"] | PRIVATE_OPTIONS,
        "network_of": "/home/me/secret/other",
    }
    source: Any = gconvae.Run(run.model, run.history, manifest)
    if form == "folder":
        assert run.folder is not None
        source = shutil.copytree(run.folder, tmp_path / "run")
        (source / "manifest.json").write_text(json.dumps(manifest))
    gconvae.export.push_to_hub(source, "me/run", token="hf_secret")
    files = hub.repositories["me/run"][-1]
    assert {name for name, content in files.items() if b"secret" in content} == set()
    uploaded = json.loads(files["manifest.json"])
    assert uploaded["config"] == run.manifest["config"] | PUBLIC_OPTIONS | {
        "data": "jets.hdf5",
        "digit": 8,
    }
    assert uploaded["options"] == run.manifest["options"] | PUBLIC_OPTIONS
    # a logger without its options could not be made
    assert json.loads(files["config.yaml"]) == uploaded["config"] | {"logger": None}


def test_a_part_that_needs_a_path_is_not_published(
    hub: StubHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {kind: dict(parts) for kind, parts in gconvae.registry._PARTS.items()}
    monkeypatch.setattr(gconvae.registry, "_PARTS", known)  # forgotten after the test

    @gconvae.registry.register("decoder", "of_a_file")
    class OfAFile(gconvae.nn.DenseDecoder):
        def __init__(self, latent_dim: int, num_points: int, num_features: int, file: str) -> None:
            super().__init__(latent_dim, num_points, num_features, hidden=[4])

    model = gconvae.models.create(
        "convae", decoder='of_a_file(file="/home/me/secret/x.pt")', latent_dim=2
    )
    with pytest.raises(ValueError, match=r"without paths.* got file = '/home/me/secret/x.pt'"):
        model.push_to_hub("me/eights", token="hf_secret")
    assert hub.repositories == {}


def test_a_downloaded_run_with_a_callback_and_a_logger_can_be_reproduced(
    hub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a checkpoint without a folder goes
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:40]
    watchers = [
        "EarlyStopping(monitor='valid_loss', patience=1, min_delta=1e9)",
        f"ModelCheckpoint(dirpath='{tmp_path / 'secret'}')",
    ]
    told = gconvae.fit(
        small_model(),
        data,
        epochs=4,
        callbacks=watchers,
        logger=f"CSVLogger(save_dir='{tmp_path / 'secret_logs'}')",
        out=tmp_path / "run",
        progress=False,
    )
    assert len(told.history["epoch"]) == 2
    gconvae.export.push_to_hub(told, "me/run", token="hf_secret")
    (tmp_path / "copy").mkdir()
    for path, content in hub.repositories["me/run"][-1].items():
        assert b"secret" not in content, path
        (tmp_path / "copy" / path).write_bytes(content)
    again = gconvae.reproduce(tmp_path / "copy", data, model=small_model(), progress=False)
    assert again.identical


def test_a_card_of_ones_own_is_uploaded_as_it_is(hub: StubHub, model: gconvae.VAE) -> None:
    card = gconvae.export.model_card(model, "me/eights") + "\n## Notes\n\nMine.\n"
    gconvae.export.push_to_hub(model, "me/eights", token="hf_secret", card=card)
    assert hub.repositories["me/eights"][-1]["README.md"].decode() == card


def test_a_second_upload_is_a_new_commit_and_a_revision_is_the_old_one(
    hub: StubHub, model: gconvae.VAE
) -> None:
    model.push_to_hub("me/eights", token="hf_secret")
    other = gconvae.models.create("convae", hidden=8, channels=(2, 2, 2), latent_dim=2, seed=1)
    other.push_to_hub("me/eights", token="hf_secret")
    assert same_samples(gconvae.load("hf:me/eights"), other)
    assert same_samples(gconvae.load("hf:me/eights@v1"), model)
    assert same_samples(gconvae.load(f"hf:me/eights@{hub.commit_of('me/eights', 1)}"), model)


def test_a_second_upload_leaves_nothing_that_describes_the_first(
    hub: StubHub, run: gconvae.Run, model: gconvae.VAE
) -> None:
    gconvae.export.push_to_hub(run, "me/eights", token="hf_secret")
    theirs = {"LICENSE": b"MIT", "figures/report.json": b"{}", "notes.csv": b"1"}
    hub.repositories["me/eights"][-1] |= theirs
    model.push_to_hub("me/eights", token="hf_secret")
    files = hub.repositories["me/eights"][-1]
    assert sorted(files) == sorted([*theirs, "README.md", "model.json", "model.safetensors"])
    assert {name: files[name] for name in theirs} == theirs
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json"):
        read_manifest("hf:me/eights")


def test_only_data_of_a_model_are_downloaded(hub: StubHub, model: gconvae.VAE) -> None:
    model.push_to_hub("me/eights", token="hf_secret")
    hub.repositories["me/eights"][-1] |= {
        "gconvae.py": b"raise SystemExit",
        "model.pkl": b"cos\nsystem",
        "last.ckpt": b"large",
        "parts/report_x.py": b"1 / 0",
    }
    gconvae.load("hf:me/eights")
    assert sorted(hub.asked) == ["model.json", "model.safetensors"]
    assert not any(pattern.endswith((".py", ".pkl", "*")) for pattern in WANTED)


def test_a_copy_in_the_cache_does_without_network(hub: StubHub, model: gconvae.VAE) -> None:
    model.push_to_hub("me/eights", token="hf_secret")
    first = gconvae.load("hf:me/eights")
    hub.close()
    assert same_samples(gconvae.load("hf:me/eights"), first)


def test_a_copy_in_the_cache_does_in_offline_mode(
    hub: StubHub, model: gconvae.VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.push_to_hub("me/eights", token="hf_secret")
    first = gconvae.load("hf:me/eights")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    importlib.import_module("huggingface_hub.utils._http").close_session()
    assert same_samples(gconvae.load("hf:me/eights"), first)


def test_without_network_and_copy_the_error_says_so(hub: StubHub) -> None:
    hub.close()
    with pytest.raises(
        FileNotFoundError, match=r"^the hub must be reached.*hf:me/eights"
    ) as caught:
        gconvae.load("hf:me/eights")
    assert "\n" not in str(caught.value)


def test_a_repository_that_is_not_there_is_named(hub: StubHub) -> None:
    with pytest.raises(FileNotFoundError, match="hf:me/nothing does not, or is private"):
        gconvae.load("hf:me/nothing")


def test_a_revision_that_is_not_there_is_named(hub: StubHub, model: gconvae.VAE) -> None:
    model.push_to_hub("me/eights", token="hf_secret")
    with pytest.raises(FileNotFoundError, match="the revision.*hf:me/eights@v9 does not"):
        gconvae.load("hf:me/eights@v9")


def test_a_repository_of_something_else_is_refused(hub: StubHub) -> None:
    hub.repositories["me/other"] = [{"model.json": b"{}", "pytorch_model.bin": b"x"}]
    with pytest.raises(FileNotFoundError, match=r"hf:me/other has no model\.safetensors"):
        gconvae.load("hf:me/other")


@pytest.mark.parametrize(
    "name",
    ["", "eights", "me/", "/eights", "me/eights/more", "me/eights@", "me eights/x", "../secret"]
    + [
        "me/..",
        "me/a--b",
        "-me/eights",
        "me/eights@a b",
        "me/eights@../../x",
        "https://huggingface.co/me/eights",
    ],
)
def test_a_malformed_name_is_refused_before_anything_is_asked(hub: StubHub, name: str) -> None:
    with pytest.raises(ValueError, match='must be named "user/name"') as caught:
        gconvae.load(f"hf:{name}")
    assert repr(name) in str(caught.value)
    assert hub.tokens == set()


def test_a_model_is_pushed_to_no_revision(model: gconvae.VAE) -> None:
    with pytest.raises(ValueError, match="without a revision, got 'me/eights@main'"):
        model.push_to_hub("me/eights@main")


@pytest.mark.parametrize("source", [None, 3, torch.zeros(2)])
def test_only_models_and_runs_are_pushed(source: Any) -> None:
    with pytest.raises(ValueError, match="source must be a model, a run or a folder, got"):
        gconvae.export.push_to_hub(source, "me/eights")


def test_an_account_that_may_not_write_is_a_permission_error(
    hub: StubHub, model: gconvae.VAE
) -> None:
    hub.refuses = 403
    with pytest.raises(PermissionError, match="may write me/eights, the hub says 403"):
        model.push_to_hub("me/eights", token="hf_secret")


def test_an_upload_without_token_says_how_to_log_in(hub: StubHub, model: gconvae.VAE) -> None:
    hub.refuses = 401
    with pytest.raises(PermissionError, match="hf auth login"):
        model.push_to_hub("me/eights")


def test_an_upload_without_network_is_a_connection_error(hub: StubHub, model: gconvae.VAE) -> None:
    hub.close()
    with pytest.raises(ConnectionError, match="the hub must take me/eights"):
        model.push_to_hub("me/eights", token="hf_secret")


def transport_error() -> Exception:
    """Of the HTTP client of huggingface_hub, whose package depends on the version."""
    (client,) = {
        base.__module__.partition(".")[0]
        for base in errors.HfHubHTTPError.__bases__
        if base is not OSError
    }
    error: Exception = importlib.import_module(client).ConnectError("no route")
    return error


@pytest.mark.parametrize(
    "error", [OSError("no route"), TimeoutError("no route"), transport_error()], ids=repr
)
def test_whatever_the_network_says_is_a_connection_error(
    hub: StubHub, model: gconvae.VAE, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_repo(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", create_repo)
    with pytest.raises(ConnectionError, match="the hub must take me/eights, it says: no route"):
        model.push_to_hub("me/eights", token="hf_secret")


def test_the_package_is_required_in_the_version_whose_errors_are_known() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert re.findall(r'"huggingface_hub([^"]*)"', text) == [">=1.0", ">=1.0"]


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gconvae\[hub\]"'):
        hub_folder("me/eights")

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import Exported, autoregressive, ragged_graphs, slides

from gconvae import export
from gconvae.vae import VAE


def exported(model: VAE, folder: Path, *parts: str) -> Exported:
    files = {part: export.to_onnx(model, folder / f"{part}.onnx", part) for part in parts}  # type: ignore[arg-type]
    return model, files


@pytest.fixture(scope="session")
def slides_files(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(slides(), tmp_path_factory.mktemp("slides"), "sampler", "encoder")


@pytest.fixture(scope="session")
def graph_files(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(ragged_graphs(), tmp_path_factory.mktemp("graphs"), "sampler", "encoder")


@pytest.fixture(scope="session")
def autoregressive_file(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    return exported(autoregressive(), tmp_path_factory.mktemp("nodes"), "sampler")

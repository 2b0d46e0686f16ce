from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from side_by_side import Starter, starter
from stub_hub import StubHub

if "PYTEST_XDIST_WORKER" in os.environ:
    # side by side each process has one core: threads that wait for each other would spin
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


LONGEST = (
    "cli/test_train.py",
    "test_docs.py",
    "test_catalogue.py",
    "studies/test_sweep.py",
    "metrics/test_comparison.py",
    "training/stages/test_likelihood.py",
    "training/test_fit.py",
    "training/test_engine.py",
    "training/test_distributed.py",
    "studies/test_postgresql.py",
    "priors/test_flows.py",
    "test_user_models.py",
    "neighbors/test_native.py",
    "studies/test_ranking.py",
    "studies/test_reproduction.py",
    "cli/test_main.py",
)
"""The files that take longest, which begin first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        default="cpu",
        choices=("cpu", "cuda"),
        help="where the tests of tensor code run (default: cpu)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":
        # kernels for GPUs are run by Triton's interpreter; it asks when it is imported
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: one that begins last keeps one process busy while the others wait."""
    places = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.split("::")[0], len(places)))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where tensors are put; a GPU that was asked for and is not there is an error, not a skip."""
    chosen = torch.device(request.config.getoption("--device"))
    if chosen.type == "cuda" and not torch.cuda.is_available():
        pytest.fail("--device cuda was given, but torch sees no GPU")
    return chosen


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def tolerance(dtype: torch.dtype) -> float:
    """Relative error that rounding may cause in sums of some tens of terms."""
    return {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]


@pytest.fixture(params=["torch-cluster", "dense"])
def backend(request: pytest.FixtureRequest, device: torch.device) -> str:
    """Each neighbour search; torch-cluster's CPU-only build cannot search on a GPU."""
    if request.param == "torch-cluster" and device.type == "cuda":
        import torch_cluster  # noqa: F401

        if torch.ops.torch_cluster.cuda_version() == -1:
            pytest.skip("torch-cluster is built without CUDA")
    return request.param


@pytest.fixture
def few_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands draw four clouds a sample: a hundred take longer than a small training."""
    from gconvae import plots  # not before Triton is told to use its interpreter

    few = functools.partial(plots.compare_grids, rows=2, columns=2)
    monkeypatch.setattr(plots, "compare_grids", few)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts processes that need no import: one that has them all is forked."""
    # neither zuko nor pyplot, which tests want to see come or stay away
    modules = ["torch.distributed", "shared_work", "gconvae.training.fit", "gconvae.plots"]
    modules += ["gconvae.metrics.groups", "gconvae.studies.sweep"]
    with starter(tmp_path_factory.mktemp("said"), *modules) as begun:
        yield begun


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A hub in place of the real one, and an empty cache."""
    constants = importlib.import_module("huggingface_hub.constants")
    stub = StubHub()
    monkeypatch.setattr(constants, "ENDPOINT", stub.address)
    template = stub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = importlib.import_module("huggingface_hub.utils._http")
    http.close_session()  # one that was made before has the proxies of before
    yield stub
    stub.close()
    http.close_session()

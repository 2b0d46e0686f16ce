from __future__ import annotations

import os

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # side by side each process has one core: threads that wait for each other would spin
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


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

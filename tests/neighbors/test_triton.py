"""The kernels for GPUs against torch; on a CPU they are run by Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gconvae import neighbors
from gconvae.neighbors import native

fused = pytest.importorskip("gconvae.neighbors.triton", reason="torch came without Triton")

SIZES = [(2, 1, 1), (2, 25, 25), (3, 31, 33), (1, 32, 64), (1, 65, 7), (1, 130, 70)]
"""Clouds, and nodes of either side: one, one tile, and the edges of more."""


@pytest.fixture
def clouds(
    device: torch.device, dtype: torch.dtype
) -> Callable[[int, int, int, int], tuple[Tensor, Tensor]]:
    def made(seed: int, clouds: int, nodes: int, others: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(seed)
        # on a coarse lattice, so that many distances tie
        sides = (
            torch.randint(0, 6, (clouds, number, 4), generator=random)
            for number in (nodes, others)
        )
        a, b = (side.to(device, dtype) for side in sides)
        return a, b

    return made


def masks(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Some nodes of each side, the last of b among them, the first of neither."""
    random = torch.Generator().manual_seed(5)
    made = []
    for side in (a, b):
        mask = torch.rand(side.shape[:2], generator=random) < 0.7
        mask[:, 0] = False
        mask[:, -1] = True
        made.append(mask.to(a.device))
    return made[0], made[1]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_search_finds_what_a_dense_one_finds(
    clouds: Callable[..., tuple[Tensor, Tensor]], size: tuple[int, int, int], masked: bool
) -> None:
    a, b = clouds(0, *size)
    given = masks(a, b) if masked else (None, None)
    found = fused.nearest(a, b, *given)
    wanted = neighbors.nearest_padded(a, b, *given, backend="dense")
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_search_reads_clouds_in_any_layout(
    clouds: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    a, b = clouds(1, 3, 9, 12)
    wanted = neighbors.nearest_padded(a[..., 1:3], b[..., 1:3], backend="dense")
    turned = a.transpose(1, 2).contiguous().transpose(1, 2)[..., 1:3]
    assert torch.equal(fused.nearest(turned, b[..., 1:3]), wanted)
    # every other node, and one cloud for all
    thinned = fused.nearest(a[:, ::2], b[:1].expand(3, -1, -1))
    assert torch.equal(
        thinned, neighbors.nearest_padded(a[:, ::2], b[:1].expand(3, -1, -1), backend="dense")
    )


@pytest.mark.filterwarnings("ignore:overflow")  # numpy's, in the interpreter
def test_a_real_point_is_found_where_distances_overflow(device: torch.device) -> None:
    far = torch.tensor([[[3e38, -3e38]]], device=device)
    points = torch.tensor([[[0.0, 0.0], [-3e38, 3e38], [-3e38, 3e38]]], device=device)
    mask = torch.tensor([[False, True, True]], device=device)
    assert fused.nearest(far, points, None, mask).tolist() == [[1]]


def test_packed_clouds_of_any_lengths(device: torch.device, dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(2)
    asks, gives = torch.tensor([3, 0, 40, 1]), torch.tensor([2, 5, 33, 70])
    query, points = (
        torch.randint(0, 5, (int(counts.sum()), 3), generator=random).to(device, dtype)
        for counts in (asks, gives)
    )
    batch = [torch.arange(4).repeat_interleave(counts).to(device) for counts in (asks, gives)]
    starts = [
        torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)]).to(device)
        for counts in (asks, gives)
    ]
    wanted = neighbors.nearest(query, points, *batch, backend="dense")
    found = fused.nearest_packed(query, points, *starts) + starts[1][:-1][batch[0]]
    assert torch.equal(found, wanted)


def test_no_queries(device: torch.device) -> None:
    points = torch.zeros(2, 3, 2, device=device)
    assert fused.nearest(points[:, :0], points).shape == (2, 0)
    starts = torch.zeros(3, dtype=torch.long, device=device)
    assert len(fused.nearest_packed(points[0, :0], points[0], starts, starts)) == 0


@pytest.mark.parametrize("searched", [2, 4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_terms_and_gradients_are_those_of_torch(
    clouds: Callable[..., tuple[Tensor, Tensor]],
    dtype: torch.dtype,
    tolerance: float,
    size: tuple[int, int, int],
    masked: bool,
    searched: int,
) -> None:
    a, b = (side.requires_grad_() for side in clouds(3, *size))
    given = masks(a, b) if masked else (None, None)
    weight = 0.3
    to_b, to_a, terms_a, terms_b = fused.terms(a.detach(), b.detach(), given, searched, weight)
    sides = a[..., :searched].detach(), b[..., :searched].detach()
    found = neighbors.nearest_both(*sides, *given, backend="dense")
    assert torch.equal(to_b, found[0])
    assert torch.equal(to_a, found[1])

    def one_way(own: Tensor, other: Tensor, found: Tensor) -> Tensor:
        gap = own - other.gather(1, found.unsqueeze(-1).expand(-1, -1, 4))
        return gap[..., :searched].square().sum(-1) + weight * gap[..., searched:].square().sum(-1)

    wanted = [one_way(a, b, to_b), one_way(b, a, to_a)]
    real = [
        torch.ones_like(terms, dtype=torch.bool) if mask is None else mask
        for terms, mask in zip(wanted, given, strict=True)
    ]
    grads = []
    for terms, want, mask in zip((terms_a, terms_b), wanted, real, strict=True):
        torch.testing.assert_close(terms[mask], want.detach()[mask], rtol=tolerance, atol=0)
        random = torch.Generator().manual_seed(len(grads))
        grads.append(torch.randn(want.shape, generator=random, dtype=dtype).to(want) * mask)
    torch.autograd.backward(wanted, grads)
    kept = a.detach(), b.detach()
    for own, other, ways, given_grads, leaf in (
        (*kept, (to_b, to_a), grads, a),
        (*kept[::-1], (to_a, to_b), grads[::-1], b),
    ):
        made = fused.gradients(own, other, *ways, *given_grads, searched, weight)
        assert leaf.grad is not None
        largest = float(leaf.grad.abs().max())
        torch.testing.assert_close(made, leaf.grad, rtol=tolerance, atol=tolerance * largest)


def test_gradients_of_a_sum_are_read_as_they_come(device: torch.device) -> None:
    a, b = torch.rand(2, 5, 3, device=device), torch.rand(2, 4, 3, device=device)
    to_b, to_a, *_ = fused.terms(a, b, (None, None), 3, 1.0)
    given = [torch.tensor([[2.0], [3.0]], device=device).expand(2, number) for number in (5, 4)]
    whole = [grad.contiguous() for grad in given]
    first, second = (fused.gradients(a, b, to_b, to_a, *g, 3, 1.0) for g in (given, whole))
    assert torch.equal(first, second)


def test_on_a_gpu_compiled_means_these_kernels() -> None:
    assert native.obstacle("cuda") is None
    assert neighbors.resolve_backend("auto", "cuda", torch.float32, 25) == "native"
    assert neighbors.resolve_backend("native", "cuda", torch.float64, 10**6) == "native"
    assert neighbors.resolve_backend("auto", "cuda", torch.bfloat16) == "dense"
    assert neighbors.resolve_backend("auto", "cuda", torch.float32, 25, graph=True) == "dense"


def test_a_gpu_that_cannot_run_them_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Tensor) -> Tensor:
        raise RuntimeError("Failed to find C compiler.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: torch.ones(shape))
    monkeypatch.setattr(fused, "nearest", fails)
    native._fused.cache_clear()
    try:
        with pytest.warns(UserWarning, match="fails on this GPU: Failed to find C compiler"):
            assert not native.available("cuda")
        assert neighbors.resolve_backend("auto", "cuda", torch.float32, 25) == "dense"
    finally:
        native._fused.cache_clear()


def test_losses_on_a_gpu_are_those_on_a_cpu(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("a comparison of two devices")
    from gconvae import losses

    random = torch.Generator().manual_seed(0)
    target, output = (torch.rand(7, 25, 3, generator=random) for _ in range(2))
    masked = [torch.arange(25) < torch.randint(1, 26, (7, 1), generator=random) for _ in range(2)]
    for name in ("third_axis", "matched_intensity(intensity_weight=0.3)"):
        loss = losses.create(name, backend="auto")
        for given in ([], masked):
            made = []
            for where in ("cpu", device):
                leaf = output.to(where).detach().requires_grad_()
                value = loss(target.to(where), leaf, *(mask.to(where) for mask in given))
                value.sum().backward()
                assert leaf.grad is not None
                made.append((value.detach().cpu(), leaf.grad.cpu()))
            torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-6)

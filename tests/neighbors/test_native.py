"""Nearest nodes and Chamfer terms in C++."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from generators import NODE_KINDS, nodes
from torch import Tensor

from gconvae import losses, neighbors
from gconvae.neighbors import library
from gconvae.neighbors.native import (
    available,
    chamfer_terms,
    matched_terms,
    nearest,
    nearest_both,
    nearest_packed,
    obstacle,
)

DTYPES = [torch.float32, torch.float64]
SIZES = [1, 2, 15, 16, 17, 31, 32, 33, 65, 191, 500, 767, 768, 769, 1500]
"""Around a block of queries, and around the size from which clouds are halved."""


def all_pairs(query: Tensor, points: Tensor, mask: Tensor | None = None) -> Tensor:
    """The lowest index among the nearest points, (B, N), from every distance."""
    distance = query.new_zeros(*query.shape[:2], points.shape[1])
    for feature in range(query.shape[2]):
        gap = query[:, :, None, feature] - points[:, None, :, feature]
        distance = distance + gap * gap
    if mask is not None:
        distance = distance.masked_fill(~mask.unsqueeze(1), torch.inf)
    nearest_one = distance == distance.min(2, keepdim=True).values
    if mask is not None:
        nearest_one &= mask.unsqueeze(1)
    return nearest_one.int().argmax(2)


def generator() -> torch.Generator:
    """The same numbers every time."""
    return torch.Generator().manual_seed(0)


def clouds(kind: str, shape: tuple[int, int, int], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Padded clouds of one kind."""
    count, size, features = shape
    return made(kind, count * size, features, dtype, seed).view(shape)


def made(kind: str, size: int, features: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Nodes as a function of the seed."""
    return nodes(kind, size, features, torch.Generator().manual_seed(seed), dtype)


def plain_terms(a: Tensor, b: Tensor, index: Tensor, searched: int, weight: float) -> Tensor:
    """The formula of chamfer_terms."""
    gap = a - b.gather(1, index.unsqueeze(-1).expand(-1, -1, b.shape[2]))
    square = gap * gap
    return square[..., :searched].sum(-1) + weight * square[..., searched:].sum(-1)


def gradients(terms: tuple[Tensor, Tensor], of: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a sum in which every term counts differently."""
    weights = [torch.linspace(0.5, 2, t.numel(), dtype=t.dtype).view_as(t) for t in terms]
    return torch.autograd.grad(terms, of, weights)


# ------------------------------------------------------------------ the search


@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [1, 2, 3, 4, 5, 6])
def test_kinds_of_clouds(kind: str, dtype: torch.dtype, features: int) -> None:
    for size, other in ((25, 31), (70, 1), (1, 70), (800, 900)):
        count = 1 if size > 100 else 3
        a = clouds(kind, (count, size, features), dtype, seed=1)
        b = clouds(kind, (count, other, features), dtype, seed=2)
        to_b, to_a = nearest_both(a, b)
        assert torch.equal(to_b, all_pairs(a, b))
        assert torch.equal(to_a, all_pairs(b, a))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_of_clouds(size: int, dtype: torch.dtype) -> None:
    for other in (size, 800):
        a = clouds("random", (2, size, 3), dtype, seed=1)
        b = clouds("random", (2, other, 3), dtype, seed=2)
        assert torch.equal(nearest(a, b), all_pairs(a, b))
        assert torch.equal(nearest(b, a), all_pairs(b, a))


@pytest.mark.parametrize("size", [40, 1000])
@pytest.mark.parametrize("scale", [1e-30, 1e20, 1e38])
def test_squares_that_leave_the_range_of_numbers(scale: float, size: int) -> None:
    a, b = (scale * torch.randn(1, size, 3) for _ in range(2))
    assert torch.equal(nearest(a, b), all_pairs(a.double(), b.double()))


@pytest.mark.parametrize("size", [40, 1000])
def test_far_apart_clouds_and_two_zeros(size: int) -> None:
    a = torch.randn(1, size, 3)
    a[0, ::3, 0], a[0, 1::3, 0] = 0.0, -0.0
    for b in (torch.rand(1, size, 3) + 10, a.flip(1), -a):
        assert torch.equal(nearest(a, b), all_pairs(a, b))


@pytest.mark.parametrize("size", [30, 900])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 0.0])
def test_what_lies_behind_a_mask_does_not_matter(size: int, garbage: float) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 9, (3, size, 3), generator=random).float() for _ in range(2))
    masks = [torch.rand(3, size, generator=random) < 0.6 for _ in range(2)]
    for cloud, mask in zip((a, b), masks, strict=True):
        mask[:, 0] = True
        cloud[~mask] = garbage
    to_b, to_a = nearest_both(a, b, *masks)
    assert torch.equal(to_b, all_pairs(a, b, masks[1]).masked_fill(~masks[0], 0))
    assert torch.equal(to_a, all_pairs(b, a, masks[0]).masked_fill(~masks[1], 0))


def test_nodes_that_are_no_numbers_stop_nothing() -> None:
    a, b = torch.randn(1, 1000, 3), torch.randn(1, 1000, 3)
    a[0, 5], b[0, 7], b[0, 9, 1] = torch.nan, torch.nan, torch.inf
    found = nearest(a, b)
    rest = torch.arange(1000) != 5
    wanted = all_pairs(a, b.nan_to_num(nan=1e18, posinf=1e18))
    assert torch.equal(found[0, rest], wanted[0, rest])


@pytest.mark.parametrize("size", [30, 900])
def test_strides_of_a_view(size: int) -> None:
    wide = torch.randn(2, size, 5)
    turned = torch.randn(3, size, 2).permute(2, 1, 0)
    same = torch.randn(1, size, 3).expand(2, -1, -1)
    for a in (wide[..., :3], wide[..., 1:4], turned, same, wide.flip(1)[..., :3]):
        assert torch.equal(nearest(a, turned), all_pairs(a, turned))
        assert torch.equal(nearest(turned, a), all_pairs(turned, a))


def test_no_clouds_and_no_nodes() -> None:
    assert nearest(torch.zeros(0, 5, 3), torch.zeros(0, 4, 3)).shape == (0, 5)
    assert nearest(torch.zeros(2, 0, 3), torch.zeros(2, 4, 3)).shape == (2, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["random", "lattice"])
def test_packed_clouds_of_very_different_sizes(kind: str, dtype: torch.dtype) -> None:
    asked, given = [3, 0, 1, 900, 0, 40], [40, 2, 1, 1000, 0, 3]
    query, points = made(kind, sum(asked), 3, dtype, 1), made(kind, sum(given), 3, dtype, 2)
    starts = [torch.tensor([0, *sizes]).cumsum(0) for sizes in (asked, given)]
    wanted = [
        all_pairs(q.unsqueeze(0), p.unsqueeze(0))[0] + first
        for q, p, first in zip(
            query.split(asked), points.split(given), starts[1].tolist(), strict=False
        )
        if len(q)
    ]
    assert torch.equal(nearest_packed(query, points, *starts), torch.cat(wanted))


@pytest.mark.parametrize("size", [40, 1000])
@pytest.mark.parametrize("hint", ["right", "none", "wrong", "some"])
def test_known_places_change_nothing(size: int, hint: str) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 12, (2, size, 3), generator=random).float() for _ in range(2))
    wanted = all_pairs(a, b)
    wrong = torch.randint(0, size, wanted.shape, generator=random)
    known = {
        "right": wanted,
        "none": torch.full_like(wanted, -1),
        "wrong": wrong,
        "some": torch.where(wrong % 2 == 0, wrong, -1),
    }[hint]
    before = known.clone()
    assert torch.equal(nearest(a, b, known=known), wanted)
    assert torch.equal(known, before)


@pytest.mark.parametrize("sizes", [(40, 33), (1000, 700), (40, 1000)])
def test_known_places_of_both_ways_change_nothing(sizes: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 12, (2, size, 3), generator=random).float() for size in sizes)
    known = (
        torch.randint(-1, len(b[0]), a.shape[:2], generator=random),
        torch.randint(-1, len(a[0]), b.shape[:2], generator=random),
    )
    to_b, to_a = nearest_both(a, b, known=known)
    assert torch.equal(to_b, all_pairs(a, b))
    assert torch.equal(to_a, all_pairs(b, a))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads, for however little there is to do."""
    had = torch.get_num_threads()
    monkeypatch.setattr(library, "WORTH_A_THREAD", 1)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(had)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("count", "size"), [(1, 100), (2, 100), (7, 20), (1, 2000)])
def test_threads_change_nothing(count: int, size: int) -> None:
    a, b = (torch.randn(count, size, 3).requires_grad_() for _ in range(2))
    assert len(library.share_out(count, 10**6)) == 3
    found = nearest_both(a, b)
    assert torch.equal(found[0], all_pairs(a, b))
    assert torch.equal(found[1], all_pairs(b, a))
    terms = chamfer_terms(a, b, None, None, 3, 1.0)
    many = gradients(terms, [a, b])
    torch.set_num_threads(1)
    alone = chamfer_terms(a, b, None, None, 3, 1.0)
    for mine, its in zip((*terms, *many), (*alone, *gradients(alone, [a, b])), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("size", [40, 640, 2000])
def test_threads_that_start_from_known_places_change_nothing(size: int) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 12, (1, size, 3), generator=random).float() for _ in range(2))
    known = torch.randint(-1, size, (1, size), generator=random)
    wanted = all_pairs(a, b)
    for _ in range(20):  # a thread must not see what another has found
        assert torch.equal(nearest(a, b, known=known), wanted)


# ------------------------------------------------------------------ the terms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("searched", "weight"), [(3, 1.0), (2, 1.0), (2, 0.25), (1, 3.0), (2, 0)])
def test_terms_and_gradients_are_those_of_the_formula(
    searched: int, weight: float, dtype: torch.dtype
) -> None:
    a, b = (torch.randn(4, size, 3, dtype=dtype, requires_grad=True) for size in (9, 12))
    found = nearest_both(a[..., :searched].detach(), b[..., :searched].detach())
    wanted = (
        plain_terms(a, b, found[0], searched, weight),
        plain_terms(b, a, found[1], searched, weight),
    )
    slopes = gradients(wanted, [a, b])
    for terms in (
        chamfer_terms(a, b, None, None, searched, weight),
        matched_terms(a, b, *found, searched, weight),
    ):
        torch.testing.assert_close(terms, wanted)
        torch.testing.assert_close(gradients(terms, [a, b]), slopes)


def test_first_and_second_derivatives() -> None:
    a, b = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 5))

    def terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return chamfer_terms(first, second, None, None, 2, 0.5)

    assert torch.autograd.gradcheck(terms, (a, b))
    assert torch.autograd.gradgradcheck(terms, (a, b))


def test_masked_nodes_get_no_gradient_from_terms_that_do_not_count() -> None:
    a, b = (torch.randn(2, 6, 3, requires_grad=True) for _ in range(2))
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    of_a, of_b = chamfer_terms(a, b, mask, None, 3, 1.0)
    (of_a.masked_fill(~mask, 0).sum() + of_b.sum()).backward()
    assert a.grad is not None
    assert not a.grad[~mask].any()
    assert a.grad[mask].any()


@pytest.mark.parametrize("wanted", [0, 1])
def test_one_side_alone_can_have_a_gradient(wanted: int) -> None:
    sides = [torch.randn(2, 5, 3), torch.randn(2, 7, 3)]
    both = [side.clone().requires_grad_() for side in sides]
    sides[wanted].requires_grad_()
    expected = gradients(chamfer_terms(*both, None, None, 3, 1.0), both)[wanted]
    (found,) = gradients(chamfer_terms(*sides, None, None, 3, 1.0), [sides[wanted]])
    assert torch.equal(found, expected)


def test_strides_of_inputs_and_gradients() -> None:
    a, b = (torch.randn(3, 8, 2).permute(2, 1, 0).requires_grad_() for _ in range(2))
    plain = [side.detach().contiguous().requires_grad_() for side in (a, b)]
    grads = torch.randn(2, 8).flip(1), torch.randn(8, 2).t()
    found, wanted = (
        torch.autograd.grad(chamfer_terms(*sides, None, None, 3, 1.0), sides, grads)
        for sides in ([a, b], plain)
    )
    torch.testing.assert_close(found, wanted)
    # a sum's gradient is one number, stretched
    of_sum = torch.autograd.grad(sum(t.sum() for t in chamfer_terms(a, b, None, None, 3, 1.0)), a)
    ones = torch.ones(2, 8)
    terms = chamfer_terms(*plain, None, None, 3, 1.0)
    torch.testing.assert_close(of_sum[0], torch.autograd.grad(terms, plain, (ones, ones))[0])


# ------------------------------------------------------------------ torch.compile


@pytest.fixture
def graphs() -> Iterator[None]:
    """Whatever was traced before is forgotten, and the library may be loaded anew."""
    torch.compiler.reset()
    library.load.cache_clear()
    yield
    torch.compiler.reset()


# which torch looks at itself where a graph ends
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    ("name", "backend"),
    [*(("third_axis", backend) for backend in neighbors.BACKENDS), ("matched_intensity", "auto")],
)
def test_a_loss_under_torch_compile(name: str, backend: str) -> None:
    loss = losses.create(name, backend=backend)
    one_graph = backend != "torch-cluster"
    traced = torch.compile(loss, backend="aot_eager", fullgraph=one_graph)
    found = []
    for each in (loss, traced):
        target, output = (torch.randn(3, n, 3, generator=generator()) for n in (25, 30))
        output.requires_grad_()
        value = each(target, output)
        value.square().sum().backward()
        found.append((value.detach(), output.grad))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    ("backend", "masked"),
    [("native", False), ("native", True), ("torch-cluster", False), ("torch-cluster", True)],
)
def test_searches_in_traced_code_find_the_same(backend: str, masked: bool) -> None:
    query, points = (torch.randn(3, n, 2, generator=generator()) for n in (7, 9))
    masks = [torch.ones(3, n, dtype=torch.bool) for n in (7, 9)] if masked else [None, None]
    if masked:
        masks[0][0, 5:], masks[1][1, 3:] = False, False
    batch = torch.arange(3).repeat_interleave(7), torch.arange(3).repeat_interleave(9)
    searches = [
        (neighbors.nearest_padded, (query, points, *masks)),
        (neighbors.nearest_both, (query, points, *masks)),
    ]
    if not masked:  # packed clouds need no masks
        packed = query.flatten(0, 1), points.flatten(0, 1), *batch
        searches.append((neighbors.nearest, packed))
    for search, given in searches:
        traced = torch.compile(search, backend="aot_eager")
        found, wanted = (each(*given, backend=backend) for each in (traced, search))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_what_it_cannot_do_is_said() -> None:
    assert available()
    assert obstacle() is None
    assert obstacle("meta") == "cannot search on device meta"
    assert obstacle(dtype=torch.bfloat16) == "cannot compare distances in torch.bfloat16"
    assert not available(dtype=torch.int64)

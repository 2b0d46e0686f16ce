"""Energy-flow polynomials: numbers of a jet that span all observables safe from soft particles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gconvae.metrics.jets.particles import Array, Particles, particles

__all__ = ["GRAPHS", "PRIMES_OF_FOUR", "Graph", "energy_flow_polynomials", "polynomials_of"]

Graph = tuple[tuple[int, int], ...]
"""Edges between vertices 0, 1, ...; an edge may occur more than once."""

CHUNK_ENTRIES = 2**20
"""Angles between particles that are held at a time: 8 MB an array, whatever the sample is."""

GRAPHS: tuple[Graph, ...] = (
    (),  # one vertex
    ((0, 1),),
    ((0, 1), (0, 1)),
    ((0, 1), (0, 1), (0, 1)),
    ((0, 1), (0, 1), (0, 1), (0, 1)),
    ((0, 1), (0, 2)),
    ((0, 1), (0, 2), (0, 2)),
    ((0, 1), (0, 2), (0, 2), (0, 2)),
    ((0, 1), (0, 1), (0, 2), (0, 2)),
    ((0, 1), (0, 2), (1, 2)),
    ((0, 1), (0, 2), (0, 2), (1, 2)),
    ((0, 1), (0, 2), (0, 3)),
    ((0, 1), (0, 2), (0, 2), (0, 3)),
    ((0, 1), (0, 2), (1, 3)),
    ((0, 1), (0, 2), (0, 2), (1, 3)),
    ((0, 1), (0, 1), (0, 2), (1, 3)),
    ((0, 1), (0, 2), (1, 2), (0, 3)),
    ((0, 1), (0, 2), (1, 3), (2, 3)),
    ((0, 1), (0, 2), (0, 3), (0, 4)),
    ((0, 1), (0, 2), (0, 3), (1, 4)),
    ((0, 1), (0, 2), (1, 3), (2, 4)),
    # from here on products of the ones above
    ((0, 1), (2, 3)),
    ((0, 1), (2, 3), (2, 3)),
    ((0, 1), (2, 3), (2, 3), (2, 3)),
    ((0, 1), (0, 1), (2, 3), (2, 3)),
    ((0, 1), (2, 3), (2, 4)),
    ((0, 1), (0, 1), (2, 3), (2, 4)),
    ((0, 1), (2, 3), (2, 4), (2, 4)),
    ((0, 1), (2, 3), (2, 4), (3, 4)),
    ((0, 1), (2, 3), (4, 5)),
    ((0, 1), (2, 3), (2, 4), (2, 5)),
    ((0, 1), (2, 3), (2, 4), (3, 5)),
    ((0, 1), (0, 2), (3, 4), (3, 5)),
    ((0, 1), (2, 3), (4, 5), (4, 5)),
    ((0, 1), (2, 3), (4, 5), (4, 6)),
    ((0, 1), (2, 3), (4, 5), (6, 7)),
)
"""All graphs of at most four edges, in the order of energyflow's ``EFPSet("d<=4")``: what JetNet's
FPD and KPD are of."""

PRIMES_OF_FOUR: tuple[Graph, ...] = GRAPHS[12:13] + GRAPHS[14:18]
"""Connected graphs of four vertices and four edges: what JetNet's W1EFP is of."""

_PRIMES = GRAPHS[:21]


def energy_flow_polynomials(
    jets: Any, graphs: Sequence[Graph] = GRAPHS, *, name: str = "jets"
) -> Array:
    r"""Energy-flow polynomials of degree 4 and lower.

    .. math:: \mathrm{EFP}_G = \sum_{i_1} \cdots \sum_{i_n} z_{i_1} \cdots z_{i_n}
        \prod_{(k, l) \in G} \theta_{i_k i_l}, \qquad z_i = p_{T,i}, \quad
        \theta_{ij} = \sqrt{(\eta_i - \eta_j)^2 + (\phi_i - \phi_j)^2}

    n vertices are n sums over particles, an edge is a factor of an angle. It is energyflow with
    ``measure="hadr", beta=1, normed=False, coords="ptyphim"`` and eta_rel for the rapidity, as
    JetNet calls it. The sums are done as products of matrices, so that a jet costs N^3 steps at
    most and not N^5.

    Args:
        jets: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel, see :func:`gconvae.metrics.compare`
            for their forms.
        graphs: Some of ``GRAPHS``.
        name: What error messages call the jets.
    Returns:
        Shape (B, graphs), in powers of the jet's pT and of radians.
    Raises:
        ValueError: If the jets are not valid, or a graph is not one of ``GRAPHS``.
    References:
        | Energy Flow Polynomials: A complete linear basis for jet substructure (Komiske, Metodiev
          and Thaler, 2018), arXiv:1712.07124
    Example:
        >>> jet = [[[0.1, 0.0, 0.5], [-0.1, 0.0, 0.5]]]
        >>> energy_flow_polynomials(jet, [(), ((0, 1),), ((0, 1), (0, 2))]).round(6)
        array([[1.  , 0.1 , 0.01]])
    """
    wanted = [tuple(map(tuple, graph)) for graph in graphs]
    strangers = [graph for graph in wanted if graph not in GRAPHS]
    if strangers or not wanted:
        raise ValueError(
            "graphs must be some of gconvae.metrics.jets.GRAPHS, of at most four edges, "
            f"got {strangers[0] if strangers else 'none'}"
        )
    return polynomials_of(particles(jets, name))[:, [GRAPHS.index(graph) for graph in wanted]]


def polynomials_of(jets: Particles) -> Array:
    """All of ``GRAPHS`` for checked jets, shape (B, 36)."""
    pieces = jets.pieces(CHUNK_ENTRIES)
    return np.concatenate([_of_few(few.eta, few.phi, few.pt) for few in pieces])


def _of_few(eta: Array, phi: Array, z: Array) -> Array:
    """Of few jets: particles (B, N) to polynomials (B, 36)."""
    theta = np.hypot(eta[:, :, None] - eta[:, None], phi[:, :, None] - phi[:, None])  # (B, N, N)
    primes = dict(zip(_PRIMES, _primes(theta, z), strict=True))
    columns = [np.prod([primes[part] for part in _connected(graph)], axis=0) for graph in GRAPHS]
    return np.stack(columns, axis=1)


def _primes(theta: Array, z: Array) -> list[Array]:
    """The connected graphs, in the order of ``_PRIMES``, (B,) each.

    A leaf of a tree that hangs on particle i by k parallel edges is the factor ``leaf[k]`` of i.
    What is left is a sum over one particle, over two that an edge joins, or over a triangle.
    """
    power = [np.ones_like(theta), theta]
    for _ in range(3):
        power.append(power[-1] * theta)
    leaf = [_matvec(angles, z) for angles in power]  # (B, N): leaf[0] is the sum of pT
    # particles at the end of two steps from i to j, weighed by pT: closes triangles and squares
    between = np.matmul(theta * z[:, None], theta)  # (B, N, N)
    one, two, three, four = leaf[1:]
    hook = _matvec(theta, z * one)  # a path of two edges that begins at i
    triangle = _matvec(theta * between, z)  # one that has a corner at i

    def star(*factors: Array) -> Array:
        return np.prod([z, *factors], axis=0).sum(1)

    return [
        z.sum(1),
        star(one),
        star(two),
        star(three),
        star(four),
        star(one, one),
        star(one, two),
        star(one, three),
        star(two, two),
        star(triangle),
        star(_matvec(power[2] * between, z)),
        star(one, one, one),
        star(one, two, one),
        star(one, hook),
        star(two, hook),
        star(one, _matvec(power[2], z * one)),
        star(triangle, one),
        star(_matvec(between**2, z)),
        star(one, one, one, one),
        star(one, one, hook),
        star(hook, hook),
    ]


def _matvec(matrices: Array, vectors: Array) -> Array:
    """Matrices (B, N, N) times vectors (B, N), shape (B, N)."""
    products: Array = np.matmul(matrices, vectors[..., None])[..., 0]
    return products


def _connected(graph: Graph) -> list[Graph]:
    """Connected parts of a graph, the vertices of each numbered from 0."""
    if not graph:
        return [graph]
    parts: list[set[int]] = []
    for edge in graph:
        touched = [part for part in parts if part & set(edge)]
        parts = [part for part in parts if part not in touched] + [set(edge).union(*touched)]
    graphs = []
    for part in sorted(parts, key=min):
        names = {vertex: i for i, vertex in enumerate(sorted(part))}
        graphs.append(tuple((names[a], names[b]) for a, b in graph if a in part))
    return graphs

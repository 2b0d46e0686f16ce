"""How close two samples of clouds are: figures with their statistical error and their floor."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gconvae.clouds import Clouds, as_sample
from gconvae.metrics.geometry import check_alike, resolved, wrapping
from gconvae.metrics.groups import PARTS, groups_of
from gconvae.metrics.progress import Progress
from gconvae.metrics.reading import opened
from gconvae.metrics.report import Report, Row
from gconvae.metrics.rows import Part
from gconvae.metrics.samples import TOO_LARGE, Comparison, UnfitError
from gconvae.metrics.vectors import EMBEDDINGS, Embedder
from gconvae.metrics.wasserstein import feature_w1
from gconvae.plain import did_you_mean, plain
from gconvae.processes import Processes
from gconvae.schema import CloudSchema

__all__ = ["GROUPS", "Report", "Row", "as_sample", "compare", "feature_w1"]

GROUPS = ("features", "sets", "frechet", "kernel", "classifier", "memorization", "jets")
"""What :func:`compare` can compute, in the order of the report; ``"jets"`` of jets only."""

_LOGGER = logging.getLogger("gconvae.metrics")
"""Hears how long a comparison will take, before it begins."""

_SMALLEST_SAMPLE = 2
"""One cloud can neither be resampled nor split."""

_PROBLEMS = (ValueError, ArithmeticError, RuntimeError, MemoryError, ModuleNotFoundError)
"""What a group may fail with while the others go on: bad numbers, no memory, no scikit-learn."""


def compare(
    real: Any,
    generated: Any,
    reference: Any = None,
    *,
    training: Any = None,
    schema: CloudSchema | None = None,
    embedding: Embedder | None = None,
    metrics: str | Sequence[str] | None = None,
    seed: int = 0,
    num_splits: int = 200,
    num_bootstrap: int = 100,
    progress: bool = False,
    processes: Any = None,
) -> Report:
    r"""Compares generated with real clouds, beside what two real samples differ by.

    Groups of metrics, and the rows (name, metric) they bring:

    - ``"features"``: 1-Wasserstein distance of each node feature, pooled over clouds,

      .. math:: W_1 = \int |F_{\mathrm{real}}(t) - F_{\mathrm{generated}}(t)| \, dt,

      F the cumulative distributions (:func:`scipy.stats.wasserstein_distance`), and of the number
      of nodes a cloud. Rows and units are those of the schema. For superpixels the row of the
      third feature is the slides' comparison of it as a number: by how much nodes have to change,
      on average, for the two histograms to agree.
    - ``"sets"``: ``coverage``, ``MMD`` (minimum matching distance) and ``1-NNA`` (accuracy of the
      nearest neighbour), with the distances ``chamfer`` and ``matching``
      (:mod:`gconvae.metrics`), features times the schema's factors
      (:func:`gconvae.schema.distance_factors`), heavy tails bent where it says none. A node
      without a partner costs as much as the farthest two nodes that the schema's ranges allow, or
      the real clouds' where it has none.
    - ``"frechet"``, ``"kernel"``, ``"classifier"``: ``Frechet``, its ``Frechet limit`` for endless
      samples, ``kernel`` and ``AUC`` (:mod:`gconvae.metrics`) of an embedding, which the name of
      the row says: ``own embedding``, what ``embedding`` makes of a cloud; ``embedding``, the
      features of a bundled classifier, of digits or of jets; ``trained embedding`` for all other
      clouds, a small set network trained on ``training`` or, without it, on a third of the real
      clouds, which these rows then leave out
      (:func:`gconvae.metrics.trained_embedding`). ``"classifier"`` also of ``points``, the nodes
      of a cloud in the canonical order, one after another.
    - ``"memorization"``: ``memorization``, the chance that a generated cloud lies closer to its
      nearest training cloud, in the embedding, than a real one does. Near 1 where training
      clouds are repeated; all other rows are blind to that.
    - ``"jets"``, for features named eta_rel, phi_rel, pt_rel: ``W1`` of ``mass`` and ``pT`` of a
      jet, in units of its pT, of ``tau21`` and ``tau32``, ratios of N-subjettiness, and of
      ``EFP``, the mean over five energy-flow polynomials;
      ``FPD`` and ``KPD`` of ``EFP``; ``coverage``, ``MMD`` and ``1-NNA`` under ``EMD``, the energy
      mover's distance, of 100 jets on each side; these need POT (:mod:`gconvae.metrics.jets`).

    A periodic feature is looked at within half a period of the circular mean of the real nodes,
    by all metrics: 0.1 and 6.2 radians are near each other.

    A distance between samples is never 0, and grows as they get smaller. So all values and floors
    are for the same n clouds on each side, the largest n that allows the floor:
    ``min(len(pool) // 2, len(real), len(generated))``, the pool being ``real`` and ``reference``.

    - The floor is the metric between the halves of ``num_splits`` draws of 2n clouds from the pool
      (mean, and the 95th percentile on the worse side).
    - The value of W1 is the mean over ``num_splits`` random subsets of n real and n generated
      clouds (one is enough where both have n).
    - The error is the standard deviation over ``num_bootstrap`` bootstrap samples of both sides,
      each as large as what was given. It is on the safe side near the floor, where a distance
      cannot fall as far as it can rise.

    Whole clouds are drawn, never pooled nodes: the nodes of one cloud are not independent. Other
    rows than W1 differ in this, and say where they have fewer clouds or splits:

    - They look at n or 1,000 random clouds on each side, whichever is less, the same for all.
      Clouds that cannot be nearest neighbours in any resampling are not matched, which changes no
      value.
    - ``FPD`` and ``KPD`` look at n jets, at most 50,000.
    - Costly floors have fewer splits: 100, for ``Frechet limit``, ``FPD`` and ``KPD`` 20, for
      ``AUC`` 8, whose 95 % are those of Student's t.
    - The errors of sets and kernel are over halves of both samples, drawn without replacement:
      a cloud drawn twice would be its own neighbour. ``Frechet limit``, ``FPD``, ``KPD`` and
      ``AUC`` bring theirs.

    Of a sample of more than 100,000 clouds a random 100,000 are looked at, by W1 too: n, errors
    and floors are for these. Readable clouds, such as those of a large file, are read as far as
    that and no further, and only what is read is checked. ``training`` is read to its end, some
    clouds at a time.

    Args:
        real: Padded points (B, N, F) in data units, an object with
            ``points`` and ``mask`` (:class:`~gconvae.clouds.Clouds`, a dataset), a pair
            ``(points, mask)``, or PyG ``Data`` objects or a ``Batch``.
        generated: Clouds to judge, likewise; any number of clouds and nodes.
        reference: A second real sample, for the floor; None = random halves of ``real``, which
            halves n.
        training: Clouds that the model was trained on, for ``"memorization"``; ``real`` and
            ``reference`` must hold none of them.
        schema: What the features are; None = what ``real`` or another sample says of itself, else
            made from the numbers of ``real`` (:func:`gconvae.schema.from_numbers`).
        embedding: A function of points (B, N, F) in data units and mask (B, N), on the CPU, that
            returns vectors (B, E); None = see above.
        metrics: Name or names out of ``GROUPS``; None = all that these clouds allow
            (:func:`gconvae.metrics.groups_of`).
        seed: Of all draws; the same seed gives the same numbers, whichever groups are computed.
        num_splits: Splits behind each floor, at least 2.
        num_bootstrap: Resamplings behind each error, at least 2.
        progress: Show a bar with the time left on the error stream, from 2 s on.
        processes: Those that are joined (``gconvae.processes``) and call this with the same
            samples: each computes some groups, and every one gets the whole report. None = this
            one alone.
    Returns:
        The rows, group after group, the schema, the embedding, and what was left out for which
        reason: few clouds, an embedding that fails, ``"classifier"`` needs scikit-learn,
        ``"memorization"`` needs ``training``, a row whose numbers overflow.
    Raises:
        ValueError: If a sample is not made of finite clouds, their schemas differ, a sample has
            fewer than 2 clouds, a number is too small, a group is unknown, or one that was
            named cannot be had.
        ModuleNotFoundError: If ``"classifier"`` was named and scikit-learn is not installed.
    References:
        | On the Evaluation of Generative Models in High Energy Physics (Kansal et al., 2022),
          arXiv:2211.10295
        | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri and
          Dasgupta, 2020), arXiv:2004.05675
    Example:
        >>> import torch
        >>> real = torch.rand(200, 25, 3, generator=torch.Generator().manual_seed(0))
        >>> report = compare(real, real + torch.tensor([1.0, 0.0, 0.0]), metrics="features")
        >>> round(report.row("x").value, 2), round(report.row("y").floor, 2)
        (1.0, 0.01)
    """
    both = {"real": real, "generated": generated}
    further = {"reference": reference, "training": training}
    both |= {name: sample for name, sample in further.items() if sample is not None}
    seed, num_splits, num_bootstrap = map(plain, (seed, num_splits, num_bootstrap))
    _check_numbers(seed=(seed, 0), num_splits=(num_splits, 2), num_bootstrap=(num_bootstrap, 2))
    groups = _checked_groups(metrics)
    whole = {
        name: opened(sample, name, schema, np.random.default_rng([seed, 5, i]))
        for i, (name, sample) in enumerate(both.items())
    }
    samples = {name: sample.looked_at for name, sample in whole.items()}
    _check_samples(samples, schema)
    common = resolved(samples) if schema is None else schema
    if metrics is None:
        groups = [group for group in groups if group in groups_of(common)]
    wrap = wrapping(samples["real"], common)
    processes = processes or Processes()
    comparison = Comparison(
        samples={name: wrap(sample) for name, sample in samples.items()},
        training=whole.get("training"),
        wrap=wrap,
        schema=common,
        embedder=embedding,
        seed=seed,
        num_splits=num_splits,
        num_bootstrap=num_bootstrap,
        progress=Progress(shown=bool(progress)),
    )
    dealt = groups[processes.rank :: processes.size]
    parts = [part for group in dealt for part in PARTS[group]]
    expected = {part.name: part.seconds(comparison) for part in parts}
    rows_of_groups = (_group_of(group, comparison, metrics is not None) for group in dealt)
    _LOGGER.info("a comparison of about %.0f s of one core", sum(expected.values()))
    with comparison.progress.over(expected):
        results = processes.everywhere(rows_of_groups)
    rows = [row for group in results for row in group.rows]
    left_out = {name: reason for group in results for name, reason in group.left_out.items()}
    return Report(
        rows=tuple(rows),
        num_clouds=comparison.num_clouds,
        num_real=whole["real"].number,
        num_generated=whole["generated"].number,
        num_reference=whole["reference"].number if "reference" in whole else 0,
        num_splits=num_splits,
        num_bootstrap=num_bootstrap,
        seed=seed,
        left_out=left_out,
        schema=common,
        embedding=next((row.name for row in rows if row.name in EMBEDDINGS), None),
    )


class _Group(NamedTuple):
    """What was found of a group, and what could not be had for which reason."""

    rows: list[Row]
    left_out: dict[str, str]


def _group_of(group: str, comparison: Comparison, is_named: bool) -> _Group:
    """Rows of a group; one that was named must have some."""
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    problems: dict[str, Exception] = {}
    for part in PARTS[group]:
        try:
            group_rows = _rows_of(part, comparison)
        except _PROBLEMS as error:
            problems[part.name] = error
            continue
        finite = [row for row in group_rows if _is_finite(row)]
        rows += finite
        if not finite:
            problems[part.name] = UnfitError(TOO_LARGE)
        else:  # one feature takes no other down
            lost = [row for row in group_rows if row not in finite]
            left_out |= {f"{row.name} {row.metric}": TOO_LARGE for row in lost}
    if is_named and len(problems) == len(PARTS[group]):
        first = next(iter(problems.values()))
        kind = ModuleNotFoundError if isinstance(first, ModuleNotFoundError) else ValueError
        raise kind(f"metrics must be had from these clouds, {group} {first}") from first
    return _Group(rows, left_out | {name: str(error) for name, error in problems.items()})


def _rows_of(part: Part, comparison: Comparison) -> list[Row]:
    """Rows of a part; what the caller has set for numpy's overflows matters nowhere."""
    comparison.progress.begin(part.name)
    with np.errstate(all="ignore"):
        return part.rows(comparison)


def _is_finite(row: Row) -> bool:
    return all(map(math.isfinite, (row.value, row.error, row.floor, row.floor_95)))


def _checked_groups(names: str | Sequence[str] | None) -> list[str]:
    """The groups to compute, in the order of ``GROUPS``."""
    if names is None:
        return list(GROUPS)
    wanted = {names} if isinstance(names, str) else set(names)
    if not wanted or wanted - set(GROUPS):
        strangers = sorted(map(str, wanted - set(GROUPS)))
        hint = did_you_mean(strangers[0], GROUPS) if strangers else ""
        raise ValueError(f"metrics must be out of {', '.join(GROUPS)}, got {names!r}{hint}")
    return [group for group in GROUPS if group in wanted]


def _check_samples(samples: Mapping[str, Clouds], schema: CloudSchema | None) -> None:
    for name, sample in samples.items():
        if len(sample.points) < _SMALLEST_SAMPLE:
            raise ValueError(
                f"{name} must have at least {_SMALLEST_SAMPLE} clouds, got {len(sample.points)}"
            )
    check_alike(samples, schema)


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (value, smallest) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
            raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}")

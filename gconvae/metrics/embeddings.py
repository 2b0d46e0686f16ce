"""How close two samples of feature vectors are: Frechet, kernel distance, a classifier's test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae import randomness

__all__ = [
    "FEWEST_ROWS",
    "Estimate",
    "classifier_auc",
    "frechet_distance",
    "frechet_extrapolated",
    "kernel_distance",
    "kernel_distances",
]

FEWEST_ROWS = 50
"""Rows of a sample below which a classifier sees nothing: each leaf of a tree holds at least 20,
and four fifths of twice 50 rows leave room for where to split."""

TREES = {"max_iter": 60, "max_leaf_nodes": 8, "learning_rate": 0.17}
"""Iterations and trees of that classifier."""

_FOLDS = 5
_SIZES = 5
"""Sample sizes that the line in 1 / N is fitted to."""

_HALVES = 20
"""Draws of each of these sizes; the error of a standard deviation of 20 values is 16 %."""

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float


def frechet_distance(first: Any, second: Any) -> float:
    r"""Squared Frechet distance of the Gaussians with the means and covariances of two samples.

    .. math:: |\mu_1 - \mu_2|^2
        + \operatorname{tr}\left(S_1 + S_2 - 2 (S_1 S_2)^{1/2}\right)

    The trace of the root is the sum of the singular values of :math:`R_1^T R_2` with
    :math:`S = R R^T`, so that no root of a non-symmetric matrix is taken and nothing complex
    appears, singular covariances included.

    Two samples of one distribution have a distance above 0, which falls as 1 / N;
    :func:`frechet_extrapolated` takes that part away.

    Args:
        first: Feature vectors, shape (N, D).
        second: Feature vectors, shape (M, D).
    Returns:
        At least 0, in units of feature squared.
    Raises:
        ValueError: If a sample is not a finite matrix of at least 2 rows, or D differs.
    References:
        | GANs Trained by a Two Time-Scale Update Rule (Heusel et al., 2017), arXiv:1706.08500
    Example:
        >>> first = np.array([[0.0, 0.0], [2.0, 0.0]])
        >>> frechet_distance(first, first + 3.0)
        18.0
    """
    return _frechet(*_as_features(first, second))


def frechet_extrapolated(first: Any, second: Any, *, seed: int = 0) -> Estimate:
    """Squared Frechet distance that samples without end would have.

    Subsamples of N rows are drawn from both sides without replacement, at sizes between half and
    all of the smaller sample. The distances, averaged at each size, are fitted by a line in 1 / N,
    whose value at 0 is returned. It can fall below 0. With replacement, the line would lead to the
    distance of the two samples and not of what they were drawn from.

    The error is the standard deviation of the distance over draws of half of the rows, which is
    that of the whole for an average over rows. Where both samples have one distribution it is up
    to twice as large as the spread over fresh samples.

    Args:
        first: Feature vectors, shape (N, D), several times as many rows as columns.
        second: Feature vectors, shape (M, D).
        seed: Of the draws.
    Returns:
        Value and standard error, in units of feature squared.
    Raises:
        ValueError: As :func:`frechet_distance`, or if a sample has fewer than 4 rows.
    References:
        | Effectively Unbiased FID and Inception Score (Chong and Forsyth, 2020), arXiv:1911.07023
        | On the Evaluation of Generative Models in High Energy Physics (Kansal et al., 2022),
          arXiv:2211.10295
    Example:
        >>> first, second = np.random.default_rng(0).normal(size=(2, 500, 8))
        >>> round(frechet_distance(first, second), 3)
        0.103
        >>> estimate = frechet_extrapolated(first, second)
        >>> abs(estimate.value) < estimate.error
        True
    """
    samples = _as_features(first, second, smallest=4)
    rng = np.random.default_rng(randomness.derive_seed(seed, "extrapolation"))
    size = min(len(sample) for sample in samples)
    sizes = np.round(1 / np.linspace(2 / size, 1 / size, _SIZES)).astype(int)
    distances = np.array(
        [
            [
                _frechet(*(rng.permutation(sample)[:n] for sample in samples))
                for _ in range(_HALVES)
            ]
            for n in sizes
        ]
    )  # (_SIZES, _HALVES)
    _, value = np.polyfit(1 / sizes, distances.mean(1), 1)
    return Estimate(float(value), float(distances[0].std(ddof=1)))


def kernel_distance(first: Any, second: Any, *, degree: int = 3) -> float:
    r"""Unbiased estimate of the squared maximum mean discrepancy under a polynomial kernel.

    .. math:: \frac{1}{N(N-1)} \sum_{i \ne j} k(a_i, a_j)
        + \frac{1}{M(M-1)} \sum_{i \ne j} k(b_i, b_j)
        - \frac{2}{NM} \sum_{i, j} k(a_i, b_j),
        \qquad k(a, b) = \left(\frac{a \cdot b}{D} + 1\right)^{\text{degree}}

    Its mean over samples of one distribution is 0 at every size, so it can fall below 0. A kernel
    of degree 3 sees differences in moments up to the third and no others.

    Args:
        first: Feature vectors, shape (N, D).
        second: Feature vectors, shape (M, D).
        degree: 3 as in KID, 4 as in KPD.
    Raises:
        ValueError: If a sample is not a finite matrix of at least 2 rows, D differs, or
            ``degree`` is below 1.
    References:
        | Demystifying MMD GANs (Binkowski et al., 2018), arXiv:1801.01401
        | On the Evaluation of Generative Models in High Energy Physics (Kansal et al., 2022),
          arXiv:2211.10295
    Example:
        >>> zeros, ones = np.zeros((10, 2)), np.ones((10, 2))
        >>> kernel_distance(zeros, ones), kernel_distance(zeros, ones, degree=4)
        (7.0, 15.0)
    """
    a, b = _as_features(first, second)
    if degree < 1:
        raise ValueError(f"degree must be at least 1, got {degree!r}")

    def mean_of_pairs(sample: Array) -> float:
        values = _kernel(sample, sample, degree)
        return (values.sum() - values.trace()) / (len(sample) * (len(sample) - 1))

    return float(mean_of_pairs(a) + mean_of_pairs(b) - 2.0 * _kernel(a, b, degree).mean())


def kernel_distances(
    vectors: Array, first: NDArray[np.intp], second: NDArray[np.intp], *, degree: int = 3
) -> Array:
    """:func:`kernel_distance` of each of R draws of rows, from one table of the kernel.

    Args:
        vectors: Feature vectors, shape (P, D).
        first: Rows of each draw, none of them twice, shape (R, N).
        second: Likewise, shape (R, M).
        degree: Of the kernel.
    Returns:
        Shape (R,).
    Example:
        >>> rows = np.concatenate([np.zeros((10, 2)), np.ones((10, 2))])
        >>> kernel_distances(rows, np.arange(10)[None], np.arange(10, 20)[None])
        array([7.])
    """
    table = _kernel(vectors, vectors, degree)  # (P, P)
    counts = np.zeros((2, len(first), len(vectors)))  # (2, R, P)
    for count, drawn in zip(counts, (first, second), strict=True):
        np.put_along_axis(count, drawn, 1.0, 1)
    summed = counts @ table  # (2, R, P)
    within = (summed * counts).sum(-1) - counts @ table.diagonal()  # (2, R)
    sizes = np.array([first.shape[1], second.shape[1]])
    within = within / (sizes * (sizes - 1))[:, None]
    between = (summed[0] * counts[1]).sum(-1) / sizes.prod()
    squared: Array = within.sum(0) - 2.0 * between
    return squared


def classifier_auc(first: Any, second: Any, *, seed: int = 0) -> Estimate:
    """How well a classifier tells two samples apart: 0.5 = not at all, 1 = always.

    Gradient-boosted trees (scikit-learn's ``HistGradientBoostingClassifier``, 60 iterations, 8
    leaves a tree) are trained on four fifths of both samples and score the rest, five times. The
    value is the mean over the five of the area under the ROC curve. The five are not pooled: the
    scores of two classifiers are not on one scale. Its default of 100 trees of 31 leaves takes
    four times as long and tells 1,000 clouds of 25 nodes apart no better; fewer than 255 bins a
    feature would miss coordinates that lie on a lattice.

    The error is DeLong's of the five areas, which is for classifiers as trained, times 1.5: the
    factor of Nadeau and Bengio for what the drawn training rows add. A value far below 0.5 is a
    sign of rows that both samples share: a row that was learned as one side's is held out as the
    other's.

    The trees run on one thread, since OpenMP's threads wait for each other on a busy machine; the
    bits do not depend on it.

    Args:
        first: Feature vectors, shape (N, D).
        second: Feature vectors, shape (M, D); the larger sample is cut to the smaller by a draw.
        seed: Of the draw and the folds.
    Returns:
        Value and standard error.
    Raises:
        ValueError: If a sample is not a finite matrix of at least 50 rows, or D differs: each leaf
            of a tree holds 20, so that fewer rows are never split and all samples look alike.
        ModuleNotFoundError: If scikit-learn is not installed.
    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017), arXiv:1610.06545
        | Comparing the Areas under Two or More Correlated ROC Curves (DeLong et al., 1988),
          Biometrics 44
        | Inference for the Generalization Error (Nadeau and Bengio, 2003), Machine Learning 52
    Example:
        >>> first, second = np.random.default_rng(0).normal(size=(2, 100, 2))
        >>> classifier_auc(first, second + 10.0).value
        1.0
    """
    samples = _as_features(first, second, smallest=FEWEST_ROWS)
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the classifier test needs scikit-learn: pip install "gconvae[metrics]"'
        ) from error
    rng = np.random.default_rng(randomness.derive_seed(seed, "classifier"))
    size = min(len(sample) for sample in samples)
    rows = np.concatenate([rng.permutation(sample)[:size] for sample in samples])  # (2n, D)
    is_second = np.arange(2 * size) >= size
    fold = np.tile(np.arange(size) % _FOLDS, 2)  # the rows of both samples are in random order
    areas = []
    with threadpool_limits(1):
        for i in range(_FOLDS):
            held_out = fold == i
            # early stopping would end large samples before the last iteration
            model = HistGradientBoostingClassifier(**TREES, early_stopping=False, random_state=0)
            model.fit(rows[~held_out], is_second[~held_out])
            scores = model.decision_function(rows[held_out])
            areas.append(_auc(*np.split(scores, 2)))
    values, errors = np.array(areas).T
    # held-out rows over training rows is 1 / (folds - 1)
    factor = 1 / _FOLDS + 1 / (_FOLDS - 1)
    return Estimate(float(values.mean()), float(np.sqrt(factor * (errors**2).mean())))


def _kernel(left: Array, right: Array, degree: int) -> Array:
    """The polynomial kernel of all pairs of rows, shape (N, M)."""
    values = left @ right.T / left.shape[1] + 1.0
    power = values.copy()
    for _ in range(degree - 1):  # a general power takes ten times as long
        power *= values
    return power


def _frechet(first: Array, second: Array) -> float:
    roots = [_root_of_covariance(sample) for sample in (first, second)]
    shift = first.mean(0) - second.mean(0)
    overlap = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    distance = shift @ shift + sum((root**2).sum() for root in roots) - 2.0 * overlap
    return max(0.0, float(distance))  # rounding can take it below


def _root_of_covariance(sample: Array) -> Array:
    """R with R R^T the covariance of the rows, shape (D, D)."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample, rowvar=False)))
    return vectors * np.sqrt(values.clip(0.0))


def _auc(low: Array, high: Array) -> Estimate:
    """Share of pairs with a lower score on the low side, ties half, and DeLong's error of it."""
    from scipy.stats import rankdata

    ranks = np.split(rankdata(np.concatenate([low, high])), [len(low)])
    above = (ranks[1] - rankdata(high)) / len(low)  # of each high score, share of lows below
    below = (ranks[0] - rankdata(low)) / len(high)  # of each low score, share of highs below
    variance = above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low)
    return Estimate(float(above.mean()), float(np.sqrt(variance)))


def _as_features(first: Any, second: Any, smallest: int = 2) -> tuple[Array, Array]:
    a, b = (np.asarray(sample, dtype=np.float64) for sample in (first, second))
    for name, sample in (("first", a), ("second", b)):
        if sample.ndim != 2 or sample.shape[1] == 0:
            raise ValueError(f"{name} must have shape (rows, features), got {sample.shape}")
        if len(sample) < smallest:
            raise ValueError(f"{name} must have at least {smallest} rows, got {len(sample)}")
        if not np.isfinite(sample).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"second must have {a.shape[1]} features a row like first, got {b.shape[1]}"
        )
    return a, b

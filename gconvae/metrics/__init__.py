"""How close generated clouds are to real ones: figures with errors and floors."""

from __future__ import annotations

from gconvae.metrics import jets
from gconvae.metrics.classifier import NUM_FEATURES, ReferenceClassifier, card, features, load
from gconvae.metrics.comparison import GROUPS, as_sample, compare, feature_w1
from gconvae.metrics.distances import DISTANCES, cross_matrix
from gconvae.metrics.embeddings import (
    Estimate,
    classifier_auc,
    frechet_distance,
    frechet_extrapolated,
    kernel_distance,
)
from gconvae.metrics.f_score import f_score
from gconvae.metrics.groups import groups_of
from gconvae.metrics.memorization import CopyTest, copy_test, nearest_distances
from gconvae.metrics.report import BETTER, Report, Row, badness
from gconvae.metrics.sets import (
    Values,
    coverage,
    minimum_matching_distance,
    nearest_neighbor_accuracy,
    resample,
    values,
)
from gconvae.metrics.trained_embedding import trained_embedding

__all__ = [
    "BETTER",
    "CopyTest",
    "DISTANCES",
    "Estimate",
    "GROUPS",
    "NUM_FEATURES",
    "ReferenceClassifier",
    "Report",
    "Row",
    "Values",
    "as_sample",
    "badness",
    "card",
    "classifier_auc",
    "compare",
    "copy_test",
    "coverage",
    "cross_matrix",
    "f_score",
    "feature_w1",
    "features",
    "frechet_distance",
    "frechet_extrapolated",
    "groups_of",
    "jets",
    "kernel_distance",
    "load",
    "minimum_matching_distance",
    "nearest_distances",
    "nearest_neighbor_accuracy",
    "resample",
    "trained_embedding",
    "values",
]

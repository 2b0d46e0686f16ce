"""A mixture of Gaussians as prior p(z), one for each label."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gconvae.priors.base import Latents, Prior
from gconvae.randomness import derive_seed, generator
from gconvae.registry import check_counts, register

__all__ = ["GaussianMixture"]

MOST_COMPONENTS = 64
"""Up to which a number of components is looked for."""

UNFITTED_COMPONENTS = 16
"""Components of a mixture that is trained jointly and says no number."""

FEWEST_DRAWS = 1000
"""Draws from q(z|x) that a mixture is fitted to where there are fewer clouds."""

MOST_DRAWS = 20_000
"""Draws that a mixture is fitted to at most, so that a fit takes seconds."""


@register("prior", "gmm")
class GaussianMixture(Prior):
    r"""A mixture of K Gaussians with full covariances; with labels, one mixture a label.

    .. math:: \log p(z|y) = \log \sum_k w_{yk}\, N(z; \mu_{yk}, (A_{yk}^T A_{yk})^{-1})

    On the latents of an autoencoder this beat GANs, so it is what a flow has to be better than.
    The share of real nodes and the conditions in the context are not used.

    Weights w, means and the lower triangular factors A of the precisions are parameters, fitted by
    scikit-learn's EM algorithm or trained jointly; ``factors`` holds the logarithms of A's
    diagonal. What is loaded brings its own K.

    Args:
        latent_dim: L.
        num_classes: See :class:`Prior`.
        ragged: See :class:`Prior`.
        components: K; None = out of 1, 2, 4, ..., 64 the best on held-out latents, found by
            :meth:`fit` for each label, and 16 without a fit.
        num_conditions: See :class:`Prior`.
    Raises:
        ValueError: If ``components`` is not a whole number of at least 1.
    References:
        | Learning Representations and Generative Models for 3D Point Clouds (Achlioptas et al.,
          2017), arXiv:1707.02392
    Example:
        >>> prior = GaussianMixture(latent_dim=1, components=2)
        >>> with torch.no_grad():
        ...     _ = prior.means.copy_(torch.tensor([[[-1.0], [1.0]]]))
        >>> prior.log_prob(torch.zeros(1, 1)).item()  # -1/2 - log(2 pi)/2
        -1.4189385175704956
    """

    def __init__(
        self,
        latent_dim: int = 10,
        num_classes: int = 0,
        ragged: bool = False,
        components: int | None = None,
        num_conditions: int = 0,
    ) -> None:
        super().__init__(latent_dim, num_classes, ragged, num_conditions)
        if components is not None:
            check_counts(components=components)
        self.components = components
        shape = (max(num_classes, 1), components or UNFITTED_COMPONENTS)
        self.logits = nn.Parameter(torch.zeros(shape))
        # unlike means, so that a joint training can tell the components apart
        self.means = nn.Parameter(torch.randn(*shape, latent_dim))
        self.factors = nn.Parameter(torch.zeros(*shape, latent_dim, latent_dim))
        self.register_load_state_dict_pre_hook(_take_saved_count)

    def noise(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """A uniform number for the component and L normal ones, shape (num_samples, L + 1)."""
        level = torch.rand(
            num_samples, 1, generator=generator, device=generator.device, dtype=torch.float32
        )
        return torch.cat([level, super().noise(num_samples, generator)], dim=1)

    def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
        """Draws z, see :meth:`Prior.from_noise`, on the device of the weights."""
        label = self._label(self._checked_context(context, noise.shape[:1]), noise.shape[:1])
        level, noise = noise[:, :1], noise[:, 1:].to(self.means)
        # on the noise's device, where every device's numbers give the same component
        upper = self.logits.softmax(-1).to(level.device).cumsum(-1)[label.to(level.device), :-1]
        component = (level > upper).sum(-1).to(label.device)  # (B,)
        factor = _lower(self.factors[label, component])  # (B, L, L)
        offset = torch.linalg.solve_triangular(factor, noise.unsqueeze(-1), upper=False)
        return self.means[label, component] + offset.squeeze(-1)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of z, see :meth:`Prior.log_prob`."""
        label = self._label(self._checked_context(context, z.shape[:-1]), z.shape[:-1])
        mixtures = zip(self.logits, self.means, self.factors, strict=True)
        # every mixture on every z, so that no shape depends on the labels
        each = torch.stack([_mixture_log_prob(z, *mixture) for mixture in mixtures], -1)
        return each.gather(-1, label.unsqueeze(-1)).squeeze(-1)

    def fit(self, latents: Latents, valid: Latents, *, seed: int) -> None:
        """Expectation maximization on draws from q(z|x), see :meth:`Prior.fit`.

        A label has at most as many components as clouds, and one without clouds gets the mixture
        of all of them.

        Raises:
            ModuleNotFoundError: If scikit-learn is not installed.
        """
        latents, valid = self.checked_latents(latents), self.checked_latents(valid)
        fitted = [
            _fit_mixture(
                self._with_label(latents, label) or latents,
                self._with_label(valid, label),
                self.components,
                seed,
            )
            for label in range(len(self.logits))
        ]
        count = self.components or max(len(weights) for weights, _, _ in fitted)
        filled = [_fill_up(*mixture, count) for mixture in fitted]
        parameters = (self.logits, self.means, self.factors)
        for parameter, values in zip(parameters, zip(*filled, strict=True), strict=True):
            parameter.data = torch.stack(values).to(parameter)

    def lower_factors(self) -> Tensor:
        """Triangular factors of the precisions, shape (Y, K, L, L)."""
        return _lower(self.factors)

    def _label(self, context: Tensor | None, leading: Sequence[int]) -> Tensor:
        """Which mixture, shape (...)."""
        if not self.num_classes or context is None:
            return torch.zeros(*leading, dtype=torch.long, device=self.logits.device)
        return context[..., : self.num_classes].argmax(-1)

    def _with_label(self, latents: Latents, label: int) -> Latents | None:
        """Those of one label; None where there are none."""
        rows = self._label(latents.context, latents.mean.shape[:1]) == label
        return Latents(latents.mean[rows], latents.stddev[rows]) if rows.any() else None


def _lower(factors: Tensor) -> Tensor:
    """Lower triangular with a positive diagonal, shape (..., L, L)."""
    diagonal = factors.diagonal(dim1=-2, dim2=-1).exp()
    return factors.tril(-1) + torch.diag_embed(diagonal)


def _mixture_log_prob(z: Tensor, logits: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """Log-density of one mixture of K at z (..., L), shape (...)."""
    white = torch.einsum("kij,...kj->...ki", _lower(factors), z.unsqueeze(-2) - means)
    volume = factors.diagonal(dim1=-2, dim2=-1).sum(-1)  # (K,)
    each = volume - 0.5 * white.square().sum(-1) + logits.log_softmax(-1)  # (..., K)
    return each.logsumexp(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)


def _fit_mixture(
    latents: Latents, valid: Latents | None, components: int | None, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, L) and precision factors (K, L, L) of one mixture, in float64."""
    clouds = len(latents.mean)
    repeats, skip = math.ceil(FEWEST_DRAWS / clouds), math.ceil(clouds / MOST_DRAWS)
    draws = [latents.draw(generator(seed, "mixture latents", epoch=n)) for n in range(repeats)]
    z = torch.cat(draws)[::skip].double().cpu().numpy()
    if components is not None or valid is None:
        best = _expectation_maximization(z, min(components or 1, clouds), seed)
    else:
        held_out = valid.draw(generator(seed, "held-out latents")).double().cpu().numpy()
        best = _best_size(z, held_out, min(clouds, MOST_COMPONENTS), seed)
    parameters = (best.weights_, best.means_, best.precisions_cholesky_.swapaxes(1, 2))
    weights, means, lower = (torch.from_numpy(values) for values in parameters)
    return weights, means, lower


def _best_size(z: NDArray[Any], held_out: NDArray[Any], most: int, seed: int) -> Any:
    """The mixture of 1, 2, 4, ... components under which held-out latents are likeliest."""
    best, likeliest, worse, size = None, -math.inf, 0, 1
    while size <= most and worse < 2:
        mixture = _expectation_maximization(z, size, seed)
        reached = mixture.score(held_out)
        worse = 0 if reached > likeliest else worse + 1
        if reached > likeliest:
            best, likeliest = mixture, reached
        size *= 2
    return best


def _expectation_maximization(z: NDArray[Any], components: int, seed: int) -> Any:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'fitting a Gaussian mixture needs scikit-learn: pip install "gconvae[metrics]"'
        ) from error
    mixture = Mixture(
        components,
        reg_covar=max(1e-4 * z.var(axis=0).mean(), 1e-6),
        random_state=derive_seed(seed, "mixture") % 2**32,
    )
    with threadpool_limits(1), warnings.catch_warnings():
        # what has not converged after 100 rounds is still judged on held-out latents
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(z)


def _fill_up(
    weights: Tensor, means: Tensor, lower: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters of the same density with ``count`` components, some of them there repeatedly."""
    index = torch.arange(count) % len(weights)
    copies = torch.bincount(index, minlength=len(weights))
    diagonal = lower.diagonal(dim1=-2, dim2=-1).log()
    factors = lower.tril(-1) + torch.diag_embed(diagonal)
    return (weights / copies).log()[index], means[index], factors[index]


def _take_saved_count(
    prior: GaussianMixture, state: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """Makes room for as many components as are loaded; torch refuses other wrong shapes."""
    for name, parameter in prior.named_parameters():
        saved = state.get(prefix + name)
        if saved is not None and saved.dim() == parameter.dim():
            shape = (len(parameter), saved.shape[1], *parameter.shape[2:])
            parameter.data = parameter.new_empty(shape)

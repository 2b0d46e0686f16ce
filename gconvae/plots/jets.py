"""Figures that a particle physicist expects of jets: spectra with ratios, and mean images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from gconvae.clouds import Clouds
from gconvae.metrics import jets
from gconvae.metrics.jets.particles import are_jets, particles_of
from gconvae.plots.samples import as_samples, schema_of
from gconvae.plots.style import COLORS, DASHES, Floats, check_positive, robust_range, spread
from gconvae.schema import JETS

__all__ = ["jet_images", "jet_spectra"]

RATIOS = (0.5, 1.5)
"""Limits of the panels of ratios."""

MOST_TICKS = 5
"""Steps of a linear axis: labels with many digits must not overlap."""

DECADES = 5
"""That the colours of a mean image span."""


class _Quantity(NamedTuple):
    """A number of a jet: how it is called, how it is made, and whether it spans decades."""

    label: str
    values: Callable[[Clouds], Floats]
    is_log: bool = False
    is_whole: bool = False


TRIANGLE = ((0, 1), (0, 2), (1, 2))
SQUARE = ((0, 1), (0, 2), (1, 3), (2, 3))
"""Graphs of energy-flow polynomials: angles between particles, three and four of them."""


def _energy_flow(graph: tuple[tuple[int, int], ...]) -> Callable[[Clouds], Floats]:
    return lambda sample: jets.energy_flow_polynomials(sample, [graph])[:, 0]


def _hardest(sample: Clouds) -> Floats:
    pt: Floats = sample.points[..., 2].masked_fill(~sample.mask, 0.0).amax(1).double().numpy()
    return pt


def _prongs(column: int) -> Callable[[Clouds], Floats]:
    def values(sample: Clouds) -> Floats:
        ratios: Floats = jets.subjettiness_ratios(jets.n_subjettiness(sample))[:, column]
        return ratios

    return values


QUANTITIES = (
    _Quantity("jet mass / jet pT", jets.mass),
    _Quantity("pT of all particles / jet pT", jets.pt),
    _Quantity("particles", lambda sample: jets.multiplicity(sample).astype(float), is_whole=True),
    _Quantity("pT of the hardest / jet pT", _hardest),
    _Quantity("tau21, of two prongs for one", _prongs(0)),
    _Quantity("tau32, of three prongs for two", _prongs(1)),
    _Quantity("energy flow of triangles", _energy_flow(TRIANGLE), is_log=True),
    _Quantity("energy flow of squares", _energy_flow(SQUARE), is_log=True),
)


def jet_spectra(
    samples: Mapping[str, Any], *, bins: int = 40, figure: Figure | None = None
) -> Figure:
    """Mass, pT, particles, the hardest one, prongs and energy flow of jets, with ratios below.

    Bands and bars are one standard deviation of the counts, Poisson's. The outermost bins also
    hold what lies beyond them.

    Args:
        samples: Name to jets, the real ones first.
        bins: Of each spectrum.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds are no jets, or there is no sample.
    Example:
        >>> from gconvae.datasets import Jets
        >>> figure = jet_spectra({"real": Jets("g", "test")[:200]})
        >>> figure.axes[0].get_title()
        'jet mass / jet pT'
    """
    checked = _as_jets(samples)
    check_positive(bins=bins)
    columns = math.ceil(len(QUANTITIES) / 2)
    figure = spread(figure, (0.6 + 3.5 * columns, 8.4))
    grid = figure.subplots(4, columns, height_ratios=(3, 1, 3, 1))
    for number, quantity in enumerate(QUANTITIES):
        row, column = divmod(number, columns)
        spectrum, ratio = grid[2 * row, column], grid[2 * row + 1, column]
        spectra = {name: quantity.values(sample) for name, sample in checked.items()}
        edges = _edges(next(iter(spectra.values())), quantity, bins)
        _draw(spectrum, ratio, spectra, edges)
        spectrum.set(title=quantity.label, xlim=(edges[0], edges[-1]), yscale="log")
        spectrum.tick_params(labelbottom=False)
        ratio.set(xlim=(edges[0], edges[-1]), ylim=RATIOS)
        for axes in (spectrum, ratio):
            if quantity.is_log:
                axes.set_xscale("log")
            else:
                axes.locator_params("x", nbins=MOST_TICKS)
    for row in (0, 2):
        grid[row, 0].set_ylabel("share of jets")
        grid[row + 1, 0].set_ylabel(f"ratio to {next(iter(checked))}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize="small"
    )
    return figure


def jet_images(
    samples: Mapping[str, Any],
    *,
    width: float = 0.8,
    cells: int = 40,
    figure: Figure | None = None,
) -> Figure:
    """Mean pT in each cell of eta and phi, on a logarithmic scale that all samples share.

    Args:
        samples: Name to jets.
        width: Images reach from minus to plus this angle, above 0.
        cells: Cells along each side.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds are no jets, there is no sample, or the width is out of range or
            holds no particle.
    Example:
        >>> from gconvae.datasets import Jets
        >>> figure = jet_images({"real": Jets("g", "test")[:200]})
        >>> figure.axes[0].get_xlabel()
        'eta_rel'
    """
    checked = _as_jets(samples)
    check_positive(cells=cells)
    if not 0 < width < math.inf:
        raise ValueError(f"width must be above 0 and finite, got {width!r}")
    edges = np.linspace(-width, width, cells + 1)
    images = {name: _mean_image(sample, edges) for name, sample in checked.items()}
    most = max(float(image.max()) for image in images.values())
    if most <= 0:
        raise ValueError(f"width must reach a particle with a pT above 0, got {width:g}")
    figure = spread(figure, (1.0 + 3.6 * len(images), 3.9))
    least = most * 10.0**-DECADES
    panels = figure.subplots(1, len(images), squeeze=False, sharey=True)[0]
    for axes, (name, image) in zip(panels, images.items(), strict=True):
        shown = np.maximum(image.T, least)
        # a norm each: one that several artists listen to is not always taken down in order
        norm = LogNorm(least, most, clip=True)
        axes.pcolormesh(edges, edges, shown, norm=norm, cmap="viridis", rasterized=True)
        axes.set(title=name, xlabel="eta_rel", aspect="equal")
    panels[0].set_ylabel("phi_rel")
    colors = ScalarMappable(LogNorm(least, most, clip=True), "viridis")
    figure.colorbar(colors, ax=list(panels), label="mean pT / jet pT")
    return figure


def _as_jets(samples: Mapping[str, Any]) -> dict[str, Clouds]:
    """Checked samples; bare arrays of three features pass for jets."""
    checked = as_samples(samples)
    schema = schema_of(checked)
    if schema.num_features != JETS.num_features or (schema.name and not are_jets(schema)):
        raise ValueError(
            f"samples must be jets, particles of {', '.join(JETS.names)}, "
            f"got {', '.join(schema.names)}"
        )
    if are_jets(schema):
        return checked
    classes = {name: schema_of({name: part}).classes for name, part in checked.items()}
    return {
        name: part._replace(schema=JETS.with_classes(classes[name]))
        for name, part in checked.items()
    }


def _mean_image(sample: Clouds, edges: Floats) -> Floats:
    jets = particles_of(sample)
    eta, phi, pt = (part[jets.mask] for part in (jets.eta, jets.phi, jets.pt))
    image: Floats = np.histogram2d(eta, phi, (edges, edges), weights=pt)[0]
    return image / len(sample.points)


def _edges(values: Floats, quantity: _Quantity, bins: int) -> Floats:
    if quantity.is_whole:
        return np.arange(values.min() - 0.5, values.max() + 1.5)
    if quantity.is_log:
        low, high = robust_range(np.log(values[values > 0]))
        return np.geomspace(math.exp(low), math.exp(high), bins + 1)
    return np.linspace(*robust_range(values), bins + 1)


def _draw(spectrum: Axes, ratio: Axes, samples: Mapping[str, Floats], edges: Floats) -> None:
    """Shares of each sample, and their ratios to the first."""
    first: Floats | None = None
    centres = (edges[1:] + edges[:-1]) / 2
    for number, (name, values) in enumerate(samples.items()):
        counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(float)
        share, error = counts / len(values), np.sqrt(counts) / len(values)
        if first is None:
            first = np.where(share > 0, share, np.nan)
            spectrum.stairs(share, edges, fill=True, color="0.8", label=name)
            relative = error / first
            ratio.stairs(1 + relative, edges, baseline=1 - relative, fill=True, color="0.8")
            ratio.axhline(1.0, color="0.4", linewidth=0.8)
            continue
        color = COLORS[(number - 1) % len(COLORS)]
        dash = DASHES[(number - 1) % len(DASHES)]
        spectrum.stairs(
            np.where(share > 0, share, np.nan),
            edges,
            color=color,
            linestyle=dash,
            linewidth=1.6,
            label=name,
        )
        ratio.errorbar(
            centres, share / first, error / first, fmt=".", color=color, markersize=3, linewidth=1
        )

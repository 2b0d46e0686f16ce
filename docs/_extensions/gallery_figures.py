"""Figures of the gallery's examples, and the order of its pages."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

__all__ = ["Order", "figures"]

ORDER = (
    "first_training",
    "own_clouds",
    "own_images",
    "labels",
    "jets",
    "interpolation",
    "latents",
    "flow_prior",
    "graph_edges",
    "chamfer_loop",
    "metrics_on_arrays",
    "sweep",
)
"""From the first steps to the parts alone."""

_WIDTH = 8.0
"""Inches of a page; narrower figures are not enlarged."""


def figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Figures that a block of code made, whether or not pyplot knows of them.

    Args:
        block: The block, which is not looked at.
        block_vars: Holds the names of the example and where images go.
        gallery_conf: Settings of the gallery.
    """
    names = block_vars["example_globals"]
    shown: list[Figure] = names.setdefault("__shown__", [])
    paths = []
    for value in list(names.values()):
        if isinstance(value, Figure) and not any(value is figure for figure in shown):
            shown.append(value)  # kept, so that no later one is taken for it
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=96 * max(1.0, _WIDTH / value.get_figwidth()) * 1.25)
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])


class Order:
    """The key by which pages are sorted."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, name: str) -> int:
        """Its place; a page that is not listed is an error."""
        return ORDER.index(name.removesuffix(".py"))

    def __repr__(self) -> str:
        """The same in every build, so that nothing is built anew."""
        return "<Order>"

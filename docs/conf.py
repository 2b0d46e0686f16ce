"""Sphinx configuration; a build needs no network."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from gconvae import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# other packages' deprecations, which autodoc's imports would print
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", category=FutureWarning, module="torch")

project = "gconvae"
author = "the gconvae authors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "api_pages",
    "command_help",
    "sphinx-mathjax-offline",  # formulas need no network
]
# tables are parts of pages
exclude_patterns = ["_build", "tables", "Thumbs.db", ".DS_Store"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery_figures.Order",
    "image_scrapers": ("gallery_figures.figures",),
    "reset_modules": (),  # no example touches the style of figures
    "capture_repr": (),
    "abort_on_example_error": True,
    "show_memory": False,
    "min_reported_time": 1e9,  # seconds of one machine say nothing about another
    "download_all_examples": False,
    "show_api_usage": False,
    "write_computation_times": False,
}

copybutton_exclude = ".linenos, .gp, .go"

# every reference to a name of gconvae must lead somewhere; the pages of other packages are out of
# reach without the network, and a private base class has none
nitpicky = True
_BASES = r"registry\.M|evidence\.Inferable|likelihoods\.temperature\.Tempered"
_NOWHERE = rf"(?!gconvae\b).*|gconvae\.({_BASES})|gconvae\..*\._\w+"
nitpick_ignore_regex = [(r"py:.*", _NOWHERE)]

# torch's builds for CPUs alone come without it
autodoc_mock_imports = [] if importlib.util.find_spec("triton") else ["triton"]
autodoc_preserve_defaults = True  # 1 / 16 stays 1 / 16
autodoc_member_order = "groupwise"  # classes, functions, constants: as the table above them
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
python_maximum_signature_line_length = 88

autosummary_generate = False  # tables only; the pages are there

napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else attributes are described twice
napoleon_use_rtype = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"gconvae {__version__}"
html_static_path = ["_static"]
html_css_files = ["gconvae.css"]
html_copy_source = False
html_show_copyright = False


def _is_unexplained_field(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out "Alias for field number 0": the class describes its fields."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> None:
    """Connects what no option can say."""
    app.connect("autodoc-skip-member", _is_unexplained_field)

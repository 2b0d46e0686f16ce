"""Sphinx configuration; a build needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from gconvae import __version__

project = "gconvae"
author = "the gconvae authors"
copyright = author  # noqa: A001  # Sphinx's own name
release = __version__
version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_help",
    "mathml",
]
exclude_patterns = ["_build", "Thumbs.db", ".DS_Store"]

# every reference to a name of gconvae must lead somewhere; other packages' pages are out of reach
# without the network
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!gconvae\b).*")]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# a default such as 1 / 16 stays as it is written
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
python_maximum_signature_line_length = 88

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"gconvae {__version__}"
html_static_path = ["_static"]
html_css_files = ["gconvae.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False

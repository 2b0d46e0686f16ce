"""Formulas as MathML, which browsers draw themselves: no script, no image, no network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

# docutils takes the 12 of \frac12 for one number, where TeX takes two
_BARE_FRACTION = re.compile(r"\\([dt]?frac)\s*(\w)\s*(\w)")

_NUM_PARTS = {
    "mfrac": 2,
    "msub": 2,
    "msup": 2,
    "munder": 2,
    "mover": 2,
    "msubsup": 3,
    "munderover": 3,
}

_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
ElementTree.register_namespace("", _NAMESPACE[1:-1])

_ACCENTS = set("ˆ˜ˉ→˙¨ˇ˘´`")


def to_mathml(source: str, *, block: bool) -> str:
    r"""A formula in LaTeX's notation as a ``<math>`` element.

    Raises:
        MathError: If the formula has an unknown command, or one with too few parts.
    """
    formula = tex2mathml(_BARE_FRACTION.sub(r"\\\1{\2}{\3}", source), as_block=block)
    # the one name that HTML knows and XML does not
    root = ElementTree.fromstring(formula.replace("&ApplyFunction;", "&#x2061;"))
    for element in list(root.iter()):
        name = element.tag.removeprefix(_NAMESPACE)
        if len(element) != _NUM_PARTS.get(name, len(element)):
            raise MathError(f"<{name}> has {len(element)} parts")
        if name == "munderover" and element[2].text in _ACCENTS:
            _lift_index(element)
    return ElementTree.tostring(root, encoding="unicode")


def _lift_index(element: ElementTree.Element) -> None:
    r"""Puts b of \hat x_b beside the x: docutils puts it below."""
    letter, index, accent = element
    hat = ElementTree.Element(f"{_NAMESPACE}mover", accent="true")
    hat.extend([letter, accent])
    element.tag = f"{_NAMESPACE}msub"
    element[:] = [hat, index]


def _draw(translator: HTML5Translator, node: nodes.math | nodes.math_block, block: bool) -> None:
    source = node.astext()
    try:
        formula = to_mathml(source, block=block)
    except MathError as error:
        logger.warning("formula %r cannot be drawn: %s", source, error, location=node)
        raise nodes.SkipNode from None
    translator.body.append(f'<div class="math-block">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    _draw(translator, node, block=False)


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    _draw(translator, node, block=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Tables for notebooks and pages: HTML and Markdown, with all text escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

__all__ = ["Bold", "html_table", "markdown_table", "markdown_text"]

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
"""What Markdown may read as something else than itself, in the middle of a line."""


class Bold(str):
    """A cell that stands out."""

    __slots__ = ()


def html_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    notes: Iterable[str] = (),
) -> str:
    """A table for ``_repr_html_``: no colours of its own, so that dark themes can be read too.

    Args:
        heads: Of the columns; the first one is aligned to the left, numbers to the right.
        rows: Cells, as many as heads; a :class:`Bold` one stands out.
        caption: A line above the table.
        notes: Lines below it.
    Raises:
        ValueError: If a row has another number of cells.
    Example:
        >>> html_table(["metric", "value"], [["x < y", Bold("1")]])
        '<div><table><thead><tr><th style="text-align: left">metric</th><th style="text-align: \
right">value</th></tr></thead><tbody><tr><td style="text-align: left">x &lt; y</td><td \
style="text-align: right"><b>1</b></td></tr></tbody></table></div>'
    """
    rows = _checked(heads, rows)

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left", *["right"] * (len(cells) - 1)]
        return "".join(
            f'<{tag} style="text-align: {side}">{_html(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    table = f"<table><thead><tr>{line(heads, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    above = f"<p>{_html(caption)}</p>" if caption else ""
    below = "".join(f"<p>{_html(note)}</p>" for note in notes)
    return f"<div>{above}{table}{below}</div>"


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True
) -> str:
    r"""A table of GitHub's Markdown, which the hub shows too.

    Args:
        heads: Of the columns.
        rows: Cells, as many as heads; a :class:`Bold` one stands out.
        numbers: Whether all columns but the first hold numbers, which are aligned to the right.
    Raises:
        ValueError: If a row has another number of cells.
    Example:
        >>> print(markdown_table(["metric", "value"], [["a|b", Bold("1")]]))
        | metric | value |
        |---|---:|
        | a\|b | **1** |
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(heads) - 1)]
    lines = [[_markdown(cell) for cell in row] for row in (heads, *_checked(heads, rows))]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], f"|{'|'.join(rule)}|", *text[1:]])


def markdown_text(text: str) -> str:
    r"""A text for the middle of a line of Markdown, which shows it as it is: no links or tags.

    Example:
        >>> print(markdown_text("<b> *x* [y](z)"))
        &lt;b&gt; \*x\* \[y\](z)
    """
    one_line = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", html.escape(one_line, quote=False))


def _checked(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    rows = list(rows)
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(
                f"rows must have as many cells as heads, {len(heads)}, got {len(row)}"
            )
    return rows


def _html(cell: str) -> str:
    text = html.escape(cell)
    return f"<b>{text}</b>" if isinstance(cell, Bold) else text


def _markdown(cell: str) -> str:
    text = markdown_text(cell)
    return f"**{text}**" if isinstance(cell, Bold) else text

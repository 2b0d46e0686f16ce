"""Tables as HTML and Markdown: every cell is shown as text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from gconvae.markup import Bold, html_table, markdown_table, markdown_text

HOSTILE = '<img src=x onerror="1"> & | *a* [b](c) `d`\n# e'


class Cells(HTMLParser):
    """Texts of a table's cells, as a browser shows them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1][-1] += data


def test_a_browser_shows_the_cells_as_they_were_given() -> None:
    found = Cells(html_table(["name", HOSTILE], [[HOSTILE, Bold(HOSTILE)]]))
    assert found.rows == [["name", HOSTILE], [HOSTILE, HOSTILE]]
    assert found.tags.count("b") == 1
    assert set(found.tags) == {"div", "table", "thead", "tbody", "tr", "th", "td", "b"}


def test_caption_and_notes_are_escaped_too() -> None:
    text = html_table(["a"], [], caption=HOSTILE, notes=[HOSTILE])
    assert "<img" not in text
    assert text.count("&lt;img") == 2


def test_a_table_has_no_colours_and_loads_nothing() -> None:
    text = html_table(["a", "b"], [["1", Bold("2")]], caption="c", notes=["d"])
    assert "color" not in text
    assert "background" not in text
    assert "http" not in text
    assert "<script" not in text


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must have as many cells as heads, 2, got 1"):
        html_table(["a", "b"], [["1"]])
    with pytest.raises(ValueError, match="rows must have as many cells as heads, 1, got 2"):
        markdown_table(["a"], [["1", "2"]])


def test_a_cell_of_markdown_stays_in_its_column_and_line() -> None:
    text = markdown_table(["name", "value"], [[HOSTILE, Bold("1")]])
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[2].replace("\\|", "").count("|") == 3
    assert lines[2].endswith("| **1** |")


def test_markdown_reads_nothing_into_a_text() -> None:
    assert markdown_text(HOSTILE) == (
        '&lt;img src=x onerror="1"&gt; &amp; \\| \\*a\\* \\[b\\](c) \\`d\\` # e'
    )
    assert markdown_text("a_b  c") == "a\\_b c"


def test_numbers_are_aligned_to_the_right_and_texts_to_the_left() -> None:
    assert markdown_table(["a", "b"], []).splitlines()[1] == "|---|---:|"
    assert markdown_table(["a", "b"], [], numbers=False).splitlines()[1] == "|---|---|"

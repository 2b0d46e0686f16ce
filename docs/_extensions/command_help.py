"""Directive ``command-help``: what ``gconvae COMMAND --help`` prints."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from gconvae.cli import main as cli

if TYPE_CHECKING:
    from sphinx.application import Sphinx

COLUMNS = "88"


def _help(command: str) -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS  # the only way to tell argparse how wide the page is
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main([*command.split(), "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    # jsonargparse puts an invisible character into one option
    return "".join(c for c in printed.getvalue() if c.isprintable() or c == "\n")


class CommandHelp(SphinxDirective):
    """A literal block; its one argument is the command, such as ``train``."""

    required_arguments = 0
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The block, rebuilt where the command line changes."""
        self.env.note_dependency(cli.__file__)
        text = _help(" ".join(self.arguments))
        if not text:
            raise self.error(f"gconvae {' '.join(self.arguments)} --help prints nothing")
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

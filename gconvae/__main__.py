"""``python -m gconvae``: the command, for where it is not on the path."""

from __future__ import annotations

import sys

from gconvae.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m gconvae.cli``, for where the command ``gconvae`` is not on the path."""

from __future__ import annotations

import sys

from gconvae.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())

"""The command ``gconvae``: one file a command; each parses, calls, prints and draws."""

from __future__ import annotations

__all__: list[str] = []

"""What the tests of the searches share.

Nothing of the library is imported up here: this is read before ``tests/conftest.py`` can tell
Triton to use its interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def unsaid() -> Iterator[None]:
    """Lets warnings that are given once a process be given again."""
    from gconvae.neighbors import backends

    backends._say_once.cache_clear()
    yield
    backends._say_once.cache_clear()


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written for machines without a C++ compiler."""
    from gconvae.neighbors import native

    monkeypatch.setattr(native, "obstacle", lambda *_: "needs a C++ compiler, and none was found")

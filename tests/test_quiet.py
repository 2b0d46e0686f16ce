"""Warnings that are ignored inside a block, and what the filters are after it."""

from __future__ import annotations

import warnings

import pytest

from gconvae.quiet import ignoring


def test_only_what_is_named_is_ignored() -> None:
    with ignoring("old", "older"):
        warnings.warn("old things", FutureWarning, stacklevel=1)
        with pytest.warns(FutureWarning, match="new things"):
            warnings.warn("new things", FutureWarning, stacklevel=1)


def test_filters_are_as_before_after_an_error_too() -> None:
    before = list(warnings.filters)
    with pytest.raises(ImportError), ignoring("old"):
        raise ImportError
    assert warnings.filters == before


def test_filters_that_others_set_meanwhile_stay() -> None:
    before = list(warnings.filters)
    with ignoring("old"):
        warnings.filterwarnings("ignore", "theirs")
    added = [entry for entry in warnings.filters if entry not in before]
    assert [entry[1].pattern for entry in added if entry[1] is not None] == ["theirs"]


def test_a_filter_that_the_user_has_too_stays() -> None:
    warnings.filterwarnings("ignore", "old")
    warnings.filterwarnings("error", "other")
    before = list(warnings.filters)
    with ignoring("old", "new"):
        warnings.warn("new things", FutureWarning, stacklevel=1)
    assert warnings.filters == before
    warnings.warn("old things", FutureWarning, stacklevel=1)

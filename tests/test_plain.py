"""The nearest of known names."""

from __future__ import annotations

import pytest

from gconvae import losses, models, ready_made, recipes, registry
from gconvae.options import TrainingOptions
from gconvae.plain import closest, did_you_mean
from gconvae.training import run_folder


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("trian", "train"),
        ("TRAIN", "train"),
        ("sampel", "sample"),
        ("x", None),
        ("", None),
        (3, None),
    ],
)
def test_a_name_that_is_nearly_right_is_found(name: object, found: str | None) -> None:
    assert closest(name, ["train", "sample"]) == found
    assert did_you_mean(name, ["train", "sample"]) == (
        "" if found is None else f"; did you mean {found!r}?"
    )


def test_what_all_names_begin_with_makes_none_of_them_close() -> None:
    assert did_you_mean("w", ["top", "gluon"], "jets:") == ""
    assert did_you_mean("tpo", ["top", "gluon"], "jets:") == "; did you mean 'jets:top'?"


def test_of_two_names_that_differ_in_their_capitals_the_first_is_proposed() -> None:
    assert closest("adm", ["adam", "Adam"]) == "adam"


@pytest.mark.parametrize(
    ("call", "proposed"),
    [
        (lambda: recipes.get("slide"), "slides"),
        (lambda: ready_made.get("convea"), "convae"),
        (lambda: models.create("deepsets"), "deep_sets"),
        (lambda: models.create(hiden=8), "hidden"),
        (lambda: models.create(encoder="edgeconv"), "edge_conv"),
        (lambda: models.create(likelihood="autoregresive"), "autoregressive"),
        (lambda: losses.create("third_axi"), "third_axis"),
        (lambda: registry.create("prior", "gmm", component=2), "components"),
        (lambda: registry.available("encodr"), "encoder"),  # type: ignore[arg-type]
        (lambda: run_folder.load("pretrained:eigths"), "pretrained:eights"),
        (lambda: TrainingOptions(precision="float16"), "bfloat16"),  # type: ignore[arg-type]
    ],
)
def test_errors_of_the_library_propose_a_name(call: object, proposed: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=f"did you mean '{proposed}'"):
        call()


def test_a_name_that_is_close_to_none_may_be_one_of_ones_own() -> None:
    with pytest.raises(ValueError, match="registered first .*--parts FILE"):
        models.create(encoder="qqq")


def test_a_summary_is_the_first_line_without_markup() -> None:
    assert models.available("decoder")
    assert registry.summary("decoder", "conv").startswith("Mirror of ConvEncoder: dense layers")

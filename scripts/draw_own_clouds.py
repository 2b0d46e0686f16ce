"""The tables and figures of docs/own-clouds.md, from trainings on the made-up clouds of that page.

Run: python scripts/draw_own_clouds.py [spirals] [tracks] [showers] [--out runs/own-clouds]
         [--figures docs/figures/own-clouds]

Settings are those of the page. A training takes five to ten minutes of one core.
examples/own_points.py draws the rings.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

import gconvae

PAGE = Path(__file__).parents[1] / "docs" / "own-clouds.md"

MAKERS = {"spirals": "spirals", "tracks": "tracks", "showers": "particles"}
"""Kind of clouds to the function of the page that makes them."""

SCHEMAS = {"tracks": "schema", "showers": "showers"}
"""Kind to the schema of the page; without one it is found from the numbers."""

LIKELIHOODS = {
    "spirals": "autoregressive(steps=2000)",
    "tracks": "autoregressive(steps=2000)",
    "showers": "autoregressive(steps=2000, temperature=1.0)",
}
"""Kind to the likelihood of the page."""

SHOWN = ("features", "frechet", "classifier")
"""Groups of metrics of which the page has rows."""


def page_names() -> dict[str, Any]:
    """The schemas and functions that the page defines, without its trainings."""
    names: dict[str, Any] = {"np": np, "gconvae": gconvae}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for block in blocks:
        if "fit(" not in block and "to_file(" not in block and "np.save(" not in block:
            exec(block, names)
        for function in re.findall(r"^def .*?\n(?=\n|\Z)", block, re.DOTALL | re.MULTILINE):
            exec(function, names)
    return names


def train_and_draw(kind: str, folder: Path, figures: Path) -> None:
    """Trains, compares and draws; prints the table of the page."""
    names = page_names()
    schema = names[SCHEMAS[kind]] if kind in SCHEMAS else None
    make = names[MAKERS[kind]]
    data = gconvae.datasets.from_points(make(3000, seed=0), schema=schema)
    test = gconvae.datasets.from_points(make(1000, seed=1), schema=data.schema)
    num_points, num_features = data.points.shape[1:]
    model = gconvae.models.create(
        "convae-flow",
        num_points=num_points,
        num_features=num_features,
        hidden=300,
        likelihood=LIKELIHOODS[kind],
        schema=data.schema,
        seed=0,
    )
    run = gconvae.fit(model, data, epochs=40, seed=0, out=folder)
    generated = run.model.sample_clouds(len(test), seed=0)
    print(gconvae.metrics.compare(test, generated, metrics=SHOWN))
    samples = {"real": test, "generated": generated}
    figures.mkdir(parents=True, exist_ok=True)
    if kind == "spirals":
        figure = gconvae.plots.compare_grids(samples, rows=5, columns=5)
    else:
        figure = gconvae.plots.feature_histograms(samples)
    gconvae.plots.save(figure, figures / f"{kind}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--out", type=Path, default=Path("runs/own-clouds"))
    parser.add_argument("--figures", type=Path, default=PAGE.parent / "figures" / "own-clouds")
    given = parser.parse_args()
    for kind in given.kinds:
        train_and_draw(kind, given.out / kind, given.figures)

"""How close generated eights are to real ones: the slides' network, each ingredient, the recipe.

Run: python benchmarks/fidelity.py [--out runs/fidelity] [--digit 8] [--seeds 3]
Started beside it with other seeds (--first 1), a second process shares the work; stopped, it goes
on when started again. The page docs/fidelity.md is made of what it prints.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

import gconvae
from gconvae import copies, feature_metrics, files, metrics, recipes
from gconvae.clouds import Clouds, sort_nodes
from gconvae.experiments import Experiment, Splits
from gconvae.options import DataOptions
from gconvae.priors import StandardNormal
from gconvae.reference import features as embedding

SAMPLES = 5000
"""Generated clouds of each line and seed."""

ROWS = (
    *(("x", "W1"), ("y", "W1"), ("intensity", "W1"), ("embedding", "Frechet")),
    *(("embedding", "AUC"), ("points", "AUC"), ("matching", "1-NNA"), ("matching", "coverage")),
    *(("chamfer", "1-NNA"), ("chamfer", "coverage"), ("training", "proximity")),
)

Models = Mapping[str, gconvae.VAE]


def slides(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """N(0, 1), and the decoder's mean."""
    return models["slides"]


def with_flow(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """A prior that is fitted to the latents."""
    return models["slides"].with_prior("nsf", splits.train, valid=splits.valid, seed=seed)


def with_flow_and_noise(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """Calibrated noise, independent from node to node."""
    flow = with_flow(models, splits, seed)
    return flow.with_observation("gaussian", splits.valid, seed=seed)


def node_by_node_with_mixture(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The recipe's model with a Gaussian mixture as its prior."""
    return models["convae-flow"].with_prior("gmm", splits.train, valid=splits.valid, seed=seed)


def at_temperature_one(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The recipe's model, drawn as it was fitted."""
    model = models["convae-flow"]
    model.observation.temperature = 1.0
    return model


def node_by_node_without_flow(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The recipe's model with latents from N(0, 1)."""
    model = models["convae-flow"]
    model.prior = StandardNormal(model.prior.latent_dim)
    return model


def recipe(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """Flow prior, and clouds drawn node by node."""
    return models["convae-flow"]


def quick(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The same with a shorter fit, as the main command has it."""
    return models["convae-flow-quick"]


LINES: dict[str, Callable[[Models, Splits, int], gconvae.VAE]] = {
    "slides": slides,
    "+ flow prior": with_flow,
    "+ flow prior, calibrated noise": with_flow_and_noise,
    "node by node, N(0, 1)": node_by_node_without_flow,
    "node by node, flow prior, temperature 1": at_temperature_one,
    "node by node, mixture prior": node_by_node_with_mixture,
    "convae-flow-quick": quick,
    "convae-flow": recipe,
}


def trained(out: Path, name: str, digit: int, seed: int) -> Path:
    """The run folder of a recipe, found or made, one thread."""
    folder = out / f"{name}-{digit}-{seed}"
    if not (folder / "model.json").exists():
        chosen = recipes.get(name)
        experiment = Experiment(
            DataOptions(digit=digit),
            chosen.model_options(),
            chosen.training_options(seed=seed, threads=1),
        )
        began = time.perf_counter()
        experiment.run(folder, resume=folder.exists())
        print(f"{folder.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return folder


def judged(line: str, model: gconvae.VAE, splits: Splits, seed: int) -> dict[str, object]:
    """All figures of one line and seed, against all held-out clouds and against test clouds."""
    generated = model.sample(SAMPLES, seed=seed)
    points = torch.cat([splits.test.points, splits.valid.points])
    held_out = Clouds(points, torch.ones(points.shape[:2], dtype=torch.bool))
    in_full = line in FULL
    # without a reference, the real side is cut in halves at random, as for the floor
    pooled = metrics.compare(
        held_out,
        generated,
        training=splits.train,
        metrics=None if in_full else "features",
        seed=seed,
    )
    found: dict[str, object] = {"pooled": pooled.to_dict()}
    if in_full:
        against_test = metrics.compare(
            splits.test, generated, splits.valid, metrics=TESTED, seed=seed
        )
        found["test"] = against_test.to_dict()
    copied = copies.copy_test(generated, splits.test, splits.train)
    found["copies"] = {
        "generated": float(np.median(copied.generated)),
        "real": float(np.median(copied.real)),
        "p_value": copied.p_value,
    }
    return found | {"chunks": in_chunks(generated, points, pooled.num_clouds, seed)}


FULL = ("slides", "convae-flow")
"""Lines with metrics of sets, floors of all metrics, and figures against test clouds alone."""

TESTED = ("features", "frechet", "classifier")


def in_chunks(
    generated: torch.Tensor, points: torch.Tensor, size: int, seed: int
) -> dict[str, list[float]]:
    """Frechet and AUC of all generated clouds, as many at a time as the floor has."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {"Frechet": [], "embedding AUC": [], "points AUC": []}
    for start in range(0, len(generated) - size + 1, size):
        real = points[torch.from_numpy(rng.permutation(len(points))[:size])]
        sides = [real, generated[start : start + size]]
        vectors = [embedding(side).double().numpy() for side in sides]
        nodes = [
            sort_nodes(side, torch.ones(side.shape[:2], dtype=torch.bool))[0].flatten(1).numpy()
            for side in sides
        ]
        found["Frechet"].append(feature_metrics.frechet_distance(*vectors))
        found["embedding AUC"].append(feature_metrics.classifier_auc(*vectors, seed=seed).value)
        found["points AUC"].append(feature_metrics.classifier_auc(*nodes, seed=seed).value)
    return found


def results(out: Path, digit: int, seeds: range, lines: list[str]) -> dict[str, list[dict]]:
    """Figures of all lines, found or made."""
    found: dict[str, list[dict]] = {}
    for seed in seeds:
        splits = Experiment(
            DataOptions(digit=digit), training=recipes.get("slides").training_options(seed=seed)
        ).splits
        for line in lines:
            file = out / f"{line.replace(' ', '_')}-{digit}-{seed}.json"
            if not file.exists():
                needed = [line] if line in recipes.available() else ["slides", "convae-flow"]
                if line.startswith("+"):
                    needed = ["slides"]
                models = {name: gconvae.load(trained(out, name, digit, seed)) for name in needed}
                content = judged(line, LINES[line](models, splits, seed), splits, seed)
                with files.whole(file) as temporary:
                    temporary.write_text(json.dumps(content, indent=1))
                print(f"{file.name} written", flush=True)
            found.setdefault(line, []).append(json.loads(file.read_text()))
    return found


def values(reports: list[dict], against: str, name: str, metric: str) -> list[float]:
    """A figure of every seed, as far as there is one; of all chunks, where there are some."""
    column = {"Frechet": "Frechet", "AUC": f"{name} AUC"}.get(metric)
    if against == "pooled" and column is not None:
        return [statistics.fmean(report["chunks"][column]) for report in reports]
    rows = [row(report.get(against), name, metric) for report in reports]
    return [found["value"] for found in rows if found is not None]


def row(report: dict | None, name: str, metric: str) -> dict | None:
    """One row of a report, or None."""
    rows = [] if report is None else report["rows"]
    return next((r for r in rows if (r["name"], r["metric"]) == (name, metric)), None)


def print_table(found: dict[str, list[dict]], against: str) -> None:
    """Mean and standard deviation over seeds, and the floors."""
    reports = next(found[line] for line in FULL if line in found)
    rows = [r for r in ROWS if row(reports[0][against], *r) is not None]
    print(f"\n| against {against} | " + " | ".join(" ".join(r) for r in rows) + " |")
    print("|---|" + "---:|" * len(rows))
    for line, of_seeds in found.items():
        figures = [values(of_seeds, against, *r) for r in rows]
        if any(figures):
            print(f"| {line} | " + " | ".join(cell(figure) for figure in figures) + " |")
    for label, key in (("real against real", "floor"), ("95 % of real pairs", "floor_95")):
        floors = [
            statistics.fmean(row(report[against], *r)[key] for report in reports) for r in rows
        ]
        print(f"| {label} | " + " | ".join(f"{floor:.4f}" for floor in floors) + " |")


def cell(figure: list[float]) -> str:
    """Mean and standard deviation."""
    if not figure:
        return "-"
    spread = f" ± {statistics.stdev(figure):.4f}" if len(figure) > 1 else ""
    return f"{statistics.fmean(figure):.4f}{spread}"


def print_copies(found: dict[str, list[dict]]) -> None:
    """Distances to the nearest training cloud."""
    print(
        "\n| to the nearest training cloud | generated, median | test, median | p of each seed |"
    )
    print("|---|---:|---:|---|")
    for line, reports in found.items():
        parts = [report["copies"] for report in reports]
        medians = [statistics.fmean(part[key] for part in parts) for key in ("generated", "real")]
        chances = ", ".join(f"{part['p_value']:.2g}" for part in parts)
        print(f"| {line} | {medians[0]:.3f} | {medians[1]:.3f} | {chances} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/fidelity"))
    parser.add_argument("--digit", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lines", nargs="+", default=list(LINES), choices=list(LINES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    seeds = range(given.first, given.first + given.seeds)
    found = results(given.out, given.digit, seeds, given.lines)
    for against in ("pooled", "test") if found.keys() & set(FULL) else ():
        print_table(found, against)
    print_copies(found)

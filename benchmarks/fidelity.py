"""How close generated eights are to real ones: the slides' network, each ingredient, the recipe.

Run: python benchmarks/fidelity.py [--out runs/fidelity] [--seeds 3]
     python benchmarks/fidelity.py --digit 3 --seeds 1 --lines convae-flow-quick
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
from gconvae import files, metrics, recipes
from gconvae.clouds import sort_nodes
from gconvae.metrics import embeddings, memorization
from gconvae.metrics.classifier import features as embedding
from gconvae.options import DataOptions
from gconvae.priors import StandardNormal
from gconvae.schema import SUPERPIXELS
from gconvae.studies.bounds import bound
from gconvae.studies.experiment import Experiment, Splits

SAMPLES = 5000
"""Generated clouds of each line and seed."""

NATS_OF, NATS_BY = 500, 20
"""Test clouds whose log-likelihood is bounded, and draws of each."""

ROWS = (
    *(("x", "W1"), ("y", "W1"), ("intensity", "W1"), ("embedding", "Frechet")),
    *(("embedding", "AUC"), ("points", "AUC"), ("matching", "1-NNA"), ("matching", "coverage")),
    *(("chamfer", "1-NNA"), ("chamfer", "coverage")),
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
    return flow.with_likelihood("gaussian", splits.valid, seed=seed)


def autoregressive_with_mixture(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The recipe's model with a Gaussian mixture as its prior."""
    return models["convae-flow"].with_prior("gmm", splits.train, valid=splits.valid, seed=seed)


def at_temperature_one(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The recipe's model, drawn as it was fitted."""
    model = models["convae-flow"]
    model.likelihood.temperature = 1.0
    return model


def autoregressive_without_flow(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The recipe's model with latents from N(0, 1)."""
    model = models["convae-flow"]
    model.prior = StandardNormal(model.prior.latent_dim)
    return model


def recipe(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """Flow prior and autoregressive likelihood."""
    return models["convae-flow"]


def quick(models: Models, splits: Splits, seed: int) -> gconvae.VAE:
    """The same with a shorter fit, as the main command has it."""
    return models["convae-flow-quick"]


LINES: dict[str, Callable[[Models, Splits, int], gconvae.VAE]] = {
    "slides": slides,
    "+ flow prior": with_flow,
    "+ flow prior, calibrated noise": with_flow_and_noise,
    "autoregressive, N(0, 1)": autoregressive_without_flow,
    "autoregressive, flow prior, temperature 1": at_temperature_one,
    "autoregressive, mixture prior": autoregressive_with_mixture,
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
    points = held_out(splits)
    groups = ["features", "sets"] if line in WITH_SETS else ["features"]
    # without a reference, the real side is cut in halves at random, as for the floor
    pooled = metrics.compare(points, generated, schema=SUPERPIXELS, metrics=groups, seed=seed)
    size = pooled.num_clouds
    tested = metrics.compare(splits.test, generated, splits.valid, metrics="features", seed=seed)
    copied = memorization.copy_test(generated, splits.test, splits.train)
    likely = bound(model, splits.test, most=NATS_OF, samples=NATS_BY, seed=seed)
    return {
        "nats": None if likely is None else likely.value,
        "held-out": pooled.to_dict()["rows"] + vector_rows(points, generated, size, seed),
        "test": tested.to_dict()["rows"]
        + vector_rows(splits.test.points, generated, len(splits.test), seed),
        "memorization": {
            "generated": float(np.median(copied.generated)),
            "real": float(np.median(copied.real)),
            "p_value": copied.p_value,
        },
    }


def held_out(splits: Splits) -> torch.Tensor:
    """Test and validation clouds."""
    return torch.cat([splits.test.points, splits.valid.points])


WITH_SETS = ("convae-flow", "convae-flow-quick")
"""Lines with metrics of sets, which take the longest."""


def vector_rows(
    real: torch.Tensor, generated: torch.Tensor, size: int, seed: int
) -> list[dict[str, object]]:
    """Frechet distance and AUC, means over all generated clouds, ``size`` at a time."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, str], list[float]] = {}
    for start in range(0, len(generated) - size + 1, size):
        chosen = real[torch.from_numpy(rng.permutation(len(real))[:size])]
        for key, value in distances(chosen, generated[start : start + size], seed).items():
            found.setdefault(key, []).append(value)
    return [
        {"name": name, "metric": metric, "value": statistics.fmean(values)}
        for (name, metric), values in found.items()
    ]


def distances(
    first: torch.Tensor, second: torch.Tensor, seed: int
) -> dict[tuple[str, str], float]:
    """Of two samples of equal size."""
    sides = (first, second)
    vectors = [embedding(side).double().numpy() for side in sides]
    masks = [torch.ones(side.shape[:2], dtype=torch.bool) for side in sides]
    nodes = [
        sort_nodes(side, mask)[0].flatten(1).numpy()
        for side, mask in zip(sides, masks, strict=True)
    ]
    return {
        ("embedding", "Frechet"): embeddings.frechet_distance(*vectors),
        ("embedding", "AUC"): embeddings.classifier_auc(*vectors, seed=seed).value,
        ("points", "AUC"): embeddings.classifier_auc(*nodes, seed=seed).value,
    }


def floors(out: Path, digit: int, seeds: range) -> list[list[dict]]:
    """Rows of real against real clouds, whose floors are those of Frechet distance and AUC."""
    found = []
    for seed in seeds:
        file = out / f"floors-{digit}-{seed}.json"
        if not file.exists():
            splits = splits_of(digit, seed)
            report = metrics.compare(
                held_out(splits), splits.train, metrics=["frechet", "classifier"], seed=seed
            )
            write(file, report.to_dict()["rows"])
        found.append(json.loads(file.read_text()))
    return found


def splits_of(digit: int, seed: int) -> Splits:
    """Training, validation and test clouds of a seed."""
    training = recipes.get("slides").training_options(seed=seed)
    return Experiment(DataOptions(digit=digit), training=training).splits


def write(file: Path, content: object) -> None:
    """JSON, whole or not at all."""
    with files.whole(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{file.name} written", flush=True)


def results(out: Path, digit: int, seeds: range, lines: list[str]) -> dict[str, list[dict]]:
    """Figures of all lines, found or made."""
    found: dict[str, list[dict]] = {}
    for seed in seeds:
        splits = splits_of(digit, seed)
        for line in lines:
            file = out / f"{line.replace(' ', '_')}-{digit}-{seed}.json"
            if not file.exists():
                needed = [line] if line in recipes.available() else ["slides", "convae-flow"]
                if line.startswith("+"):
                    needed = ["slides"]
                models = {name: gconvae.load(trained(out, name, digit, seed)) for name in needed}
                write(file, judged(line, LINES[line](models, splits, seed), splits, seed))
            found.setdefault(line, []).append(json.loads(file.read_text()))
    return found


def row(rows: list[dict], name: str, metric: str) -> dict | None:
    """One row, or None."""
    return next((r for r in rows if (r["name"], r["metric"]) == (name, metric)), None)


def print_table(found: dict[str, list[dict]], against: str, real: list[list[dict]]) -> None:
    """Mean and standard deviation over seeds, and the floors."""
    best = next(found[line] for line in WITH_SETS if line in found)
    names = [name for name in ROWS if row(best[0][against], *name) is not None]
    heads = [" ".join(name) for name in names] + ["log p(x), nats, at least"]
    print(f"\n| against {against} clouds | {' | '.join(heads)} |")
    print("|---|" + "---:|" * len(heads))
    for line, of_seeds in found.items():
        cells = []
        for name in names:
            rows = [row(content[against], *name) for content in of_seeds]
            cells.append(cell([r["value"] for r in rows if r is not None]))
        likely = [content["nats"] for content in of_seeds if content.get("nats") is not None]
        cells.append(cell(likely, digits=1))
        print(f"| {line} | " + " | ".join(cells) + " |")
    for label, key in (("real against real", "floor"), ("95 % of real pairs", "floor_95")):
        cells = []
        for name in names:
            # those of Frechet distance and AUC are of halves of all held-out clouds
            rows = [row(more, *name) for more in real]
            if None in rows:
                rows = [row(content[against], *name) for content in best]
            cells.append(f"{statistics.fmean(r[key] for r in rows):.4f}")
        print(f"| {label} | " + " | ".join(cells) + " | - |")


def cell(figure: list[float], digits: int = 4) -> str:
    """Mean and standard deviation."""
    if not figure:
        return "-"
    spread = f" ± {statistics.stdev(figure):.{digits}f}" if len(figure) > 1 else ""
    return f"{statistics.fmean(figure):.{digits}f}{spread}"


def print_memorization(found: dict[str, list[dict]]) -> None:
    """Distances to the nearest training cloud."""
    print(
        "\n| to the nearest training cloud | generated, median | test, median | p of each seed |"
    )
    print("|---|---:|---:|---|")
    for line, reports in found.items():
        parts = [report["memorization"] for report in reports]
        medians = [statistics.fmean(part[key] for part in parts) for key in ("generated", "real")]
        chances = ", ".join(f"{part['p_value']:.2g}" for part in parts)
        print(f"| {line} | {medians[0]:.3f} | {medians[1]:.3f} | {chances} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/fidelity"))
    parser.add_argument("--digit", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    usual = [line for line in LINES if line != "convae-flow-quick"]
    parser.add_argument("--lines", nargs="+", default=usual, choices=list(LINES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    seeds = range(given.first, given.first + given.seeds)
    found = results(given.out, given.digit, seeds, given.lines)
    if found.keys() & set(WITH_SETS):
        real = floors(given.out, given.digit, seeds)
        for against in ("held-out", "test"):
            print_table(found, against, real)
    print_memorization(found)

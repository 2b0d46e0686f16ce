"""The model card: what a published model is, what it was trained on, and how good it is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gconvae import __version__, models
from gconvae.export.names import parsed
from gconvae.export.published import published_manifest
from gconvae.markup import markdown_table, markdown_text
from gconvae.metrics.report import Report
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.schema import CloudSchema
from gconvae.training.history import History, read_history
from gconvae.training.run import PARTS, Run
from gconvae.training.run_folder import load, located, read_manifest
from gconvae.vae import VAE

__all__ = ["Source", "model_card", "source_of"]

TITLES = {
    "generated": "Generated against held-out test clouds",
    "reconstructed": "Reconstructed against held-out test clouds",
    "valid": "Generated against the validation clouds, which chose the best epoch",
}
"""Reports of a run folder, ``report_NAME.json``, in the order of the card."""

LICENSES = {
    "cc-by-sa-3.0": "It was trained on digits that derive from MNIST, which is CC BY-SA 3.0.",
    "mit": "It was trained on the jets that come with gconvae, which are under the MIT licence.",
}
"""Licences of the bundled data."""

_ELSEWHERE = ("data", "digit", "seed", "threads")
"""Options that the card names outside of its table of settings."""


class Source(NamedTuple):
    """What is known of a model that is published.

    Attributes:
        model: The model.
        manifest: What it was trained with; empty = not known.
        history: Of its training, or None.
        reports: Name to report, such as ``"generated"``.
    """

    model: VAE
    manifest: Mapping[str, Any]
    history: History | None
    reports: Mapping[str, Report]


def source_of(source: VAE | Run | str | os.PathLike[str]) -> Source:
    """All that a model, a run or a folder knows.

    Args:
        source: A model, a :class:`gconvae.Run`, or whatever :func:`gconvae.load` takes.
    Raises:
        FileNotFoundError: If there is no such folder, or it holds no finished model.
        ValueError: If it is none of these, or a file is damaged.
    """
    if isinstance(source, VAE):
        return Source(source, {}, None, {})
    if isinstance(source, Run):
        reports = {} if source.folder is None else _reports(source.folder)
        return Source(source.model, source.manifest, source.history, reports)
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"source must be a model, a run or a folder, got {source!r}")
    folder = located(source)
    model = load(folder)
    if not (folder / "manifest.json").is_file():  # gconvae.save writes none
        return Source(model, {}, None, _reports(folder))
    manifest, rows = read_manifest(folder), folder / "history.csv"
    reports = _reports(folder)
    if manifest.get("report") is not None:  # of the weights that come with the package
        reports["generated"] = Report.from_dict(manifest["report"])
    history = read_history(rows) if rows.is_file() else None
    return Source(model, manifest, history, reports)


def model_card(
    source: VAE | Run | str | os.PathLike[str],
    name: str = "user/name",
    *,
    license: str | None = None,
    command: str | None = None,
) -> str:
    """A model's README for the hub, with the front matter that the hub reads.

    It says how to load the model, the schema of its clouds, the training data, settings, seed and
    command, metrics with error bars beside the real-against-real baseline (in the front matter
    too, as ``model-index``), licence and versions. A model alone does not know how it was
    trained; a run or a run folder does.

    Args:
        source: A model, a :class:`gconvae.Run`, or whatever :func:`gconvae.load` takes.
        name: Of the repository.
        license: The hub's name of a licence, such as ``"mit"``. None = that of the bundled data
            where it was trained on these, else none is stated.
        command: What to run to train it again. None = what the run folder says.
    Raises:
        FileNotFoundError: If there is no such folder, or it holds no finished model.
        ValueError: If ``source``, ``name`` or ``license`` is none, or a file is damaged.
    Example:
        >>> card = model_card("pretrained:eights", "me/eights")
        >>> [line for line in card.splitlines() if line.startswith("#")][:3]
        ['# eights', '## Use', '## Schema']
        >>> 'model = gconvae.load("hf:me/eights")' in card
        True
    """
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise ValueError(f'license must be a name of the hub, such as "mit", got {license!r}')
    name = parsed(name).name
    folder = name.partition("/")[2]
    known = source_of(source)
    known = known._replace(manifest=published_manifest(known.manifest))
    config = known.manifest.get("config", {})
    stated = license or _license_of(config)
    sections = [
        _front_matter(stated, folder, known),
        f"# {markdown_text(folder)}\n\n{_summary(known.model)}",
        f"## Use\n\n{_use(known.model, name)}",
        f"## Schema\n\n{_schema(known.model.schema)}",
        f"## Training data\n\n{_data(known.manifest)}",
        f"## Settings\n\n{_settings(known)}",
        f"## Seed and command\n\n{_again(known, folder, name, command)}",
        f"## Metrics\n\n{_metrics(known.reports)}",
        f"## Licence\n\n{_license(stated, config if license is None else {})}",
        f"## Versions\n\n{_versions(known.manifest)}",
    ]
    return "\n\n".join(sections) + "\n"


def _reports(folder: Path) -> dict[str, Report]:
    """Reports that lie in a run folder."""
    reports = sorted(folder.glob("report_*.json"))
    return {path.stem.removeprefix("report_"): Report.load(path) for path in reports}


def _front_matter(license: str | None, folder: str, known: Source) -> str:
    lines = ["library_name: gconvae", "pipeline_tag: other", "tags:"]
    lines += [f"- {tag}" for tag in ("gconvae", "point-cloud", "variational-autoencoder")]
    results = _results(known)
    if results:  # JSON is YAML
        lines.append(f"model-index: {json.dumps([{'name': folder, 'results': results}])}")
    stated = [] if license is None else [f"license: {license}"]
    return "\n".join(["---", *stated, *lines, "---"])


def _results(known: Source) -> list[dict[str, Any]]:
    """Figures of generated clouds in the form of the hub's ``model-index``."""
    name = "generated" if "generated" in known.reports else "valid"
    split = {"generated": "test", "valid": "validation"}[name]
    rows = known.reports[name].rows if name in known.reports else ()
    metrics = [
        {
            "type": row.metric,
            "name": f"{row.name} {row.metric}{f' ({row.unit})' if row.unit else ''}",
            "value": row.value,
            "args": {"error": row.error, "real_against_real": row.floor, "real_95": row.floor_95},
        }
        for row in rows
        if all(map(math.isfinite, (row.value, row.error, row.floor, row.floor_95)))
    ]
    if not metrics:
        return []
    config = known.manifest.get("config", {})
    kind = {"digits": "superpixel digits", "jets": "jets", None: "custom clouds"}[_bundled(config)]
    detail = {"digits": config.get("digit"), "jets": config.get("data"), None: None}[
        _bundled(config)
    ]
    dataset = {"type": "point clouds", "name": kind, "split": split}
    if detail is not None:
        dataset["config"] = str(detail)
    task = {"type": "other", "name": "generation of point clouds"}
    return [{"task": task, "dataset": dataset, "metrics": metrics}]


def _summary(model: VAE) -> str:
    schema, conditioning = model.schema, model.conditioning
    kind = f" ({markdown_text(schema.name)})" if schema.name else ""
    nodes = f"{'up to ' * conditioning.ragged}{conditioning.num_points} nodes"
    numbers = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"A variational autoencoder that generates sparse clouds{kind} of {nodes} with "
        f"{schema.num_features} features each. It has {model.prior.latent_dim} latent dimensions "
        f"and {numbers:,} parameters, and was made with gconvae."
    )


def _use(model: VAE, name: str) -> str:
    conditioning = model.conditioning
    shape = f"(1000, {conditioning.num_points}, {model.schema.num_features})"
    calls = [
        "import gconvae",
        f'model = gconvae.load("hf:{name}")',
        f"clouds = model.sample_clouds(1000, seed=0)  # points {shape}, mask, in data units",
    ]
    if conditioning.num_classes:
        calls.append("of_one_class = model.sample_clouds(1000, seed=0, label=0)")
    install = _fenced('pip install "gconvae[hub]"', "shell")
    return f"{install}\n\n{_fenced(chr(10).join(calls), 'python')}"


def _schema(schema: CloudSchema) -> str:
    rows = [
        (
            each.name,
            each.unit or "1",
            "not known" if each.low is None else f"{each.low:g} to {each.high:g}",
            "position" if each.position else "feature",
            "-" if each.period is None else f"{each.period:.6g}",
        )
        for each in schema.features
    ]
    table = markdown_table(("feature", "unit", "range", "kind", "period"), rows, numbers=False)
    keys = [f"{'-' * descends}{schema.names[column]}" for column, descends in schema.order_keys]
    ordered = markdown_text(", ".join(keys))
    lines = [table, f"Canonical node order: {ordered} (with a minus: the largest first)."]
    if schema.classes:
        lines.append(f"Classes: {markdown_text(', '.join(schema.classes))}.")
    if schema.conditions:
        labels = ", ".join(each.label for each in schema.conditions)
        lines.append(f"Conditions of a cloud: {markdown_text(labels)}.")
    return "\n\n".join(lines)


def _data(manifest: Mapping[str, Any]) -> str:
    if not manifest:
        return "Not recorded: this card was made from the model alone."
    rows = [
        (part, f"{manifest[key]['clouds']:,}", manifest[key]["sha256"][:16])
        for part, key in (("training", "train"), ("validation", "valid"))
    ]
    table = markdown_table(("part", "clouds", "SHA-256 begins with"), rows, numbers=False)
    return f"{_origin(manifest.get('config', {}))}\n\n{table}"


def _origin(config: Mapping[str, Any]) -> str:
    """Where the training clouds came from."""
    kind = _bundled(config)
    if kind == "digits":
        digit = config["digit"]
        chosen = "all ten digits" if digit is None else f"digit {digit}"
        return f"The superpixel digits that come with gconvae: {markdown_text(chosen)}."
    data = str(config.get("data") or "")
    if kind == "jets":
        return f"The jets that come with gconvae: {markdown_text(data.partition(':')[2])}."
    return f"Custom clouds{': ' * bool(data)}{markdown_text(data)}."


def _bundled(config: Mapping[str, Any]) -> str | None:
    """Which bundled clouds were trained on: ``"digits"``, ``"jets"`` or None."""
    if "digit" not in config:  # of gconvae.fit
        return None
    if config.get("data") is None:
        return "digits"
    return "jets" if str(config["data"]).startswith("jets:") else None


def _settings(known: Source) -> str:
    described = models.describe(known.model)
    parts = [
        (kind, described[kind]["name"], _in_words(described[kind]["options"])) for kind in PARTS
    ]
    table = markdown_table(("part", "name", "options"), parts, numbers=False)
    config = known.manifest.get("config")
    if config is None:
        return table
    usual = {
        field.name: field.default
        for options in (DataOptions, ModelOptions, TrainingOptions)
        for field in dataclasses.fields(options)
        if field.name not in _ELSEWHERE
    }
    rows = [
        (name, str(config[name]))
        for name, default in usual.items()
        if config.get(name) is not None and config[name] != default
    ]
    changed = markdown_table(("option", "value"), rows, numbers=False)
    said = f"differ from the defaults here:\n\n{changed}" if rows else "are the defaults."
    return f"{table}\n\nOptions, all of which are in `manifest.json`, {said}"


def _in_words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _again(known: Source, folder: str, name: str, command: str | None) -> str:
    """Seed, threads, and what to type to train it again."""
    manifest, lines = known.manifest, []
    if manifest:
        options, device = manifest["options"], manifest.get("machine", {}).get("device", "?")
        lines.append(
            f"Seed: {options['seed']}; threads: {manifest.get('threads', '?')}; device: {device}. "
            "With the versions below the same seed gives the same bits."
        )
    if command is not None:
        lines.append(_fenced(command, "shell"))
    elif not manifest or known.history is None:
        lines.append("How to train it again was not recorded.")
    else:
        lines += _commands(manifest.get("config", {}), folder, name)
    return "\n\n".join(lines)


def _commands(config: Mapping[str, Any], folder: str, name: str) -> list[str]:
    """What to type to train it again, by how it was trained."""
    run = f"runs/{folder}"
    download = f"hf download {name} --local-dir {run}"
    train = f"gconvae train --config {run}/config.yaml --out runs/again"
    if _bundled(config):
        return [_fenced(f"{download}\ngconvae reproduce {run}\n{train}", "shell")]
    absent = "The clouds are not part of the repository."
    if "digit" in config:  # of gconvae train
        call = _fenced(f"{download}\n{train} --data YOUR_FILE", "shell")
        return [f"{absent} With a file of them:", call]
    call = f'gconvae.reproduce("{run}", data)  # data: the training clouds'
    return [absent, _fenced(download, "shell"), _fenced(call, "python")]


def _metrics(reports: Mapping[str, Report]) -> str:
    names = [*(name for name in TITLES if name in reports), *sorted(set(reports) - set(TITLES))]
    if not names:
        return "None were recorded: `gconvae.metrics.compare` makes a report."
    return "\n\n".join(
        f"### {markdown_text(TITLES.get(name, name))}\n\n{reports[name].to_markdown()}"
        for name in names
    )


def _license_of(config: Mapping[str, Any]) -> str | None:
    """Of the bundled data that a model was trained on."""
    return {"digits": "cc-by-sa-3.0", "jets": "mit", None: None}[_bundled(config)]


def _license(stated: str | None, config: Mapping[str, Any]) -> str:
    if stated is None:
        return "Not stated. Ask who published it."
    reason = f" {LICENSES[stated]}" if _bundled(config) else ""
    return f"The weights are under `{stated}`.{reason}"


def _versions(manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine")
    if not machine:
        return f"Published with gconvae {__version__}."
    rows: Iterable[tuple[str, str]] = (
        (key, str(value)) for key, value in machine.items() if value is not None
    )
    return markdown_table(("what", "version"), rows, numbers=False)


def _fenced(text: str, language: str) -> str:
    """A block of code that ends where it should, whatever is in it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"

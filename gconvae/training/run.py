"""A finished training: model, history, manifest and folder, and how it shows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gconvae.markup import html_table
from gconvae.training.history import History, of_stage
from gconvae.vae import VAE

__all__ = ["PARTS", "Run"]

PARTS = ("encoder", "decoder", "prior", "likelihood")
"""Of a model, in the order in which its description has them."""

_HEADS = ("stage", "best epoch", "epochs", "validation loss", "seconds")


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        model: The trained copy, at its best epoch by validation loss.
        history: One list a column, one entry an epoch of each stage.
        manifest: What it was made with: options, versions, machine, checksum of the data.
        folder: Where all of it was saved, or None.
    """

    model: VAE
    history: History
    manifest: Mapping[str, Any]
    folder: Path | None = None

    def __repr__(self) -> str:
        """One line, for lists and debuggers."""
        said = [f"{self._named()}"]
        outcome = self.manifest.get("stages", {}).get("network")
        if outcome is not None:
            said.append(f"best epoch {outcome['best_epoch']} of {outcome['epochs_run']}")
            said.append(f"validation loss {self._loss('network', outcome)}")
        if "seconds" in self.manifest:
            said.append(f"{self.manifest['seconds']:.0f} s")
        return f"<Run {self.folder or 'in memory'}: {', '.join(said)}>"

    def _repr_html_(self) -> str:
        """A table of the stages, as notebooks show it."""
        rows = [
            (
                stage,
                str(outcome["best_epoch"]),
                str(outcome["epochs_run"]),
                self._loss(stage, outcome),
                f"{outcome['seconds']:.1f}",
            )
            for stage, outcome in self.manifest.get("stages", {}).items()
        ]
        caption = f"Run {self.folder or 'in memory'}: {self._named()}"
        return html_table(_HEADS, rows, caption=caption)

    def _named(self) -> str:
        """The model by its parts, or by its name in the catalogue too."""
        described = self.manifest.get("model", {})
        parts = [described.get(kind, "?") for kind in PARTS]
        names = [part["name"] if isinstance(part, Mapping) else str(part) for part in parts]
        called = self.manifest.get("config", {}).get("model")
        return f"{called} ({' + '.join(names)})" if called else " + ".join(names)

    def _loss(self, stage: str, outcome: Mapping[str, Any]) -> str:
        """The validation loss of a stage's best epoch."""
        rows = of_stage(self.history, stage)
        losses = dict(zip(rows.get("epoch", []), rows.get("valid_loss", []), strict=False))
        loss = losses.get(outcome["best_epoch"])
        return "-" if loss is None else f"{loss:.4g}"

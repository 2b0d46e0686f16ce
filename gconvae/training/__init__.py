"""Training: ``fit``, its stages and batches, and the run folder that it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.training.batches import BLOCK, Blocks, Order, loader, split
    from gconvae.training.determinism import deterministic
    from gconvae.training.history import History, read_history, write_history
    from gconvae.training.preparation import check_trainable, identity, train_and_valid
    from gconvae.training.run import Run
    from gconvae.training.run_folder import (
        FolderTakenError,
        begin,
        check_saveable,
        describe,
        differences,
        environment,
        free_folder,
        load,
        pretrained,
        read_manifest,
        save,
        save_model,
        write_json,
    )

__all__ = [
    "BLOCK",
    "Blocks",
    "FolderTakenError",
    "History",
    "Order",
    "Run",
    "begin",
    "check_saveable",
    "check_trainable",
    "describe",
    "deterministic",
    "differences",
    "environment",
    "free_folder",
    "identity",
    "load",
    "loader",
    "pretrained",
    "read_history",
    "read_manifest",
    "save",
    "save_model",
    "split",
    "train_and_valid",
    "write_history",
    "write_json",
]

_HOMES = {
    "BLOCK": "batches",
    "Blocks": "batches",
    "Order": "batches",
    "loader": "batches",
    "split": "batches",
    "FolderTakenError": "run_folder",
    "History": "history",
    "Run": "run",
    "begin": "run_folder",
    "check_saveable": "run_folder",
    "describe": "run_folder",
    "differences": "run_folder",
    "environment": "run_folder",
    "free_folder": "run_folder",
    "load": "run_folder",
    "pretrained": "run_folder",
    "read_history": "history",
    "read_manifest": "run_folder",
    "save": "run_folder",
    "save_model": "run_folder",
    "write_history": "history",
    "write_json": "run_folder",
    "check_trainable": "preparation",
    "deterministic": "determinism",
    "identity": "preparation",
    "train_and_valid": "preparation",
}
__getattr__, __dir__ = attach(__name__, _HOMES)

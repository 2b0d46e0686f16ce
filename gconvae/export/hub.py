"""Models on the Hugging Face hub: uploaded with their card, and found by their name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from gconvae import __version__
from gconvae.export.card import Source, model_card, source_of
from gconvae.export.names import parsed
from gconvae.export.published import check_no_paths, published_manifest, runnable_config
from gconvae.quiet import ignoring
from gconvae.training.history import write_history
from gconvae.training.run import Run
from gconvae.training.run_folder import HUB, save_model, write_json
from gconvae.vae import VAE

__all__ = ["hub_folder", "push_to_hub"]

MODEL = ("model.json", "model.safetensors")
"""Files that a model is loaded from."""

WANTED = (*MODEL, "manifest.json", "report_*.json")
"""Files that are downloaded: no code, and nothing else that a repository may hold."""

REPLACED = (*WANTED, "config.yaml", "history.csv")
"""Files of the upload before that describe its weights, and no others: gone where not new."""


def hub_folder(name: str) -> Path:
    """The folder of the hub's cache that holds a model; what is missing there is downloaded.

    Without network, the copy that is there is taken.

    Args:
        name: ``"user/name"`` or ``"user/name@revision"``.
    Raises:
        FileNotFoundError: If the hub has no such model or revision, or does not show it; or it
            cannot be reached and there is no copy.
        ValueError: If the name is malformed.
        ModuleNotFoundError: If huggingface_hub is not installed.
    """
    repository, revision = parsed(name)
    hub = _huggingface_hub()
    with _plain_errors(hub, name):
        folder = hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*WANTED],
            library_name="gconvae",
            library_version=__version__,
        )
    missing = [file for file in MODEL if not (Path(folder) / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"a model of the hub must hold {' and '.join(MODEL)}, {HUB}{name} has no {missing[0]}"
        )
    return Path(folder)


def push_to_hub(
    source: VAE | Run | str | os.PathLike[str],
    name: str,
    *,
    private: bool | None = None,
    commit_message: str | None = None,
    token: str | None = None,
    license: str | None = None,
    command: str | None = None,
    card: str | None = None,
) -> str:
    """Uploads a model with its card, for ``gconvae.load("hf:user/name")``.

    Of a run or a run folder go up the weights, ``manifest.json``, ``config.yaml``, ``history.csv``
    and the reports; of a model the weights alone. No clouds do, and of paths of this machine only
    the last name; loggers lose their options, and callbacks those that can be a path.

    These files replace those of an upload before, in one commit. A manifest or report of other
    weights does not stay; files of others, such as ``LICENSE``, do.

    Args:
        source: A model, a :class:`gconvae.Run`, or whatever :func:`gconvae.load` takes. A run or
            its folder knows data, settings and metrics, which the card then says.
        name: ``"user/name"``; the repository is made if there is none.
        private: Whether the repository is. None = the hub's default for a new one, public unless
            the organization says otherwise; an existing one stays as it is.
        commit_message: Of the upload.
        token: Of the hub; None = that of ``hf auth login`` or the variable ``HF_TOKEN``.
        license: See :func:`model_card`.
        command: See :func:`model_card`.
        card: Text of the card, such as a :func:`model_card` with more said; None = that itself.
    Returns:
        Address of the repository.
    Raises:
        PermissionError: If the hub does not let this account write there.
        ConnectionError: If it cannot be reached, or refuses for another reason.
        FileNotFoundError: If there is no such folder, or it holds no finished model.
        ValueError: If the name is malformed, or a part of the model is not registered, or has an
            option that is a path; if ``private`` is not what an existing repository is.
        ModuleNotFoundError: If huggingface_hub is not installed.
    """
    repository, revision = parsed(name)
    if revision is not None:
        raise ValueError(f'name must be "user/name" without a revision, got {name!r}')
    hub = _huggingface_hub()
    known = source_of(source)
    check_no_paths(known.model)
    text = card or model_card(source, name, license=license, command=command)
    with tempfile.TemporaryDirectory() as place:
        _write(known, Path(place), text)
        with _plain_refusals(hub, name):
            api = hub.HfApi(token=token, library_name="gconvae", library_version=__version__)
            address = api.create_repo(repository, private=private, exist_ok=True)
            # what create_repo passes over in silence where the repository exists
            if (
                private is not None
                and (is_private := api.model_info(repository).private) != private
            ):
                raise ValueError(
                    f"private must be None or what {name} is, {is_private}, got {private}; the "
                    "repository's settings on the hub change it"
                )
            message = commit_message or f"Upload a model of gconvae {__version__}"
            api.upload_folder(
                repo_id=repository,
                folder_path=place,
                commit_message=message,
                delete_patterns=[*REPLACED],
            )
    return str(address)


def _write(known: Source, folder: Path, card: str) -> None:
    """All files of the repository."""
    save_model(known.model, folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    for name, report in known.reports.items():
        report.save(folder / f"report_{name}.json")
    if known.history is not None:
        write_history(known.history, folder / "history.csv")
    if known.manifest:
        manifest = published_manifest(known.manifest)
        write_json(manifest, folder / "manifest.json")
        write_json(runnable_config(manifest["config"]), folder / "config.yaml")  # JSON is YAML


def _huggingface_hub() -> ModuleType:
    try:
        # in a notebook tqdm.auto, which it imports, asks for ipywidgets; bars of text do as well
        with ignoring("IProgress not found"):
            import huggingface_hub
            import huggingface_hub.errors

            _ = huggingface_hub.snapshot_download, huggingface_hub.HfApi  # imported at first use
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise  # the package is there, something that it needs is not
        raise ModuleNotFoundError(
            'models of the hub need huggingface_hub: pip install "gconvae[hub]"', name=error.name
        ) from None
    return huggingface_hub


@contextmanager
def _plain_errors(hub: ModuleType, name: str) -> Iterator[None]:
    """What a download may meet, in one line."""
    try:
        yield
    except hub.errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"the revision of a model must exist on the hub, {HUB}{name} does not"
        ) from None
    except hub.errors.GatedRepoError:
        raise FileNotFoundError(
            f"a model must be open to this account, {HUB}{name} asks for consent on its page; "
            "then: hf auth login"
        ) from None
    except hub.errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"a model must exist on the hub, {HUB}{name} does not, or is private: hf auth login"
        ) from None
    except (hub.errors.LocalEntryNotFoundError, *_client_errors(hub)) as error:
        raise FileNotFoundError(
            f"the hub must be reached or have a copy of {HUB}{name} in its cache, got "
            f"{_first_line(error)}"
        ) from error


@contextmanager
def _plain_refusals(hub: ModuleType, name: str) -> Iterator[None]:
    """What an upload may meet, in one line."""
    # the system's own too, such as a timeout
    failures: tuple[type[Exception], ...] = (*_client_errors(hub), OSError)
    try:
        yield
    except hub.errors.LocalTokenNotFoundError:
        raise PermissionError(f"token must be given to write {name}: hf auth login") from None
    except failures as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise PermissionError(
                f"token must be of an account that may write {name}, the hub says {status}: "
                "hf auth login"
            ) from None
        raise ConnectionError(
            f"the hub must take {name}, it says: {_first_line(error)}"
        ) from error


def _client_errors(hub: ModuleType) -> tuple[type[Exception], ...]:
    """What the hub refuses, and what its HTTP client cannot do.

    That is httpx or a later package, by the version of huggingface_hub. The base of the client's
    errors is one of the refusal's bases, the other one is OSError.
    """
    refusal = hub.errors.HfHubHTTPError
    return refusal, *(base for base in refusal.__bases__ if base is not OSError)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

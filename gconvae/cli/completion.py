"""``gconvae completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from gconvae.plain import did_you_mean

__all__ = ["SHELLS", "parser", "script"]

SHELLS = ("bash", "zsh", "tcsh")
"""Shells that shtab knows."""


def parser() -> ArgumentParser:
    """The parser of the command."""
    parser = ArgumentParser(
        description="Prints a script that lets a shell complete commands and options. For bash, "
        'eval "$(gconvae completion bash)" in ~/.bashrc.',
        exit_on_error=False,
    )
    parser.add_argument("shell", type=str, help=", ".join(SHELLS))
    return parser


def script(whole: ArgumentParser, shell: str) -> str:
    """The script.

    Args:
        whole: The parser of all commands, which can parse nothing afterwards.
        shell: One of :data:`SHELLS`.
    Raises:
        ValueError: If it is another.
        ModuleNotFoundError: If shtab is not installed.
    """
    if shell not in SHELLS:
        hint = did_you_mean(shell, SHELLS)
        raise ValueError(f"SHELL must be one of {', '.join(SHELLS)}, got {shell!r}{hint}")
    try:
        import shtab  # noqa: F401 - jsonargparse does not say which extra has it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'gconvae completion needs shtab: pip install "gconvae[completion]"', name=error.name
        ) from None
    text: str = whole.get_completion_script(f"shtab-{shell}")
    return text

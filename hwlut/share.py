"""Where the shipped data lies: ``_share`` of an installed wheel, else the checkout."""

from pathlib import Path

__all__ = ["share"]

_PACKAGE = Path(__file__).resolve().parent


def share(*parts: str) -> Path:
    """Path of shipped data, such as ``share("pretrained", "gelu_8.json")`` or ``share("kernels")``."""
    installed = _PACKAGE / "_share"
    return (installed if installed.is_dir() else _PACKAGE.parent).joinpath(*parts)

"""Files of tensors that commands take and give: .npy of one, .safetensors of several by name."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwlut.fields import shorten
from hwlut.files import read_bytes, write_atomic

if TYPE_CHECKING:
    import torch

__all__ = ["check_target", "read_tensors", "write_tensors"]

_LIMIT = 8 << 30


def read_tensors(path: Path, names: Sequence[str]) -> "list[torch.Tensor]":
    """The tensors of these names, in their order; a .npy holds the only one, under no name.

    Raises ValueError, naming the file, for what is neither, and for names that it does not have.
    """
    import torch

    from hwlut.arrays import parse_npy, refusing_safetensors

    data = read_bytes(path, _LIMIT)
    if path.suffix == ".npy":
        if len(names) != 1:
            raise ValueError(f"{path} must be a .safetensors, for the inputs {', '.join(names)}")
        try:
            return [torch.from_numpy(parse_npy(data))]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is no .npy of numbers: {error}") from None
    if path.suffix != ".safetensors":
        raise ValueError(f"inputs must be a .npy or a .safetensors, not {str(path)!r}")
    from safetensors.torch import load

    try:
        with refusing_safetensors():
            held = load(data)
    except ValueError as error:
        raise ValueError(f"{path} is no .safetensors: {error}") from None
    if set(held) != set(names):
        raise ValueError(f"{path} must have the tensors {', '.join(names)}, not {shorten(sorted(held))}")
    return [held[name] for name in names]


def check_target(path: Path, names: Sequence[str]) -> None:
    """ValueError where tensors of these names cannot be written to `path`: told before they are computed."""
    if path.suffix not in (".npy", ".safetensors"):
        raise ValueError(f"-o must be a .npy or a .safetensors, not {str(path)!r}")
    if path.suffix == ".npy" and len(names) != 1:
        raise ValueError(f"{path} must be a .safetensors, for the outputs {', '.join(names)}")
    folder = next(each for each in Path(os.path.realpath(path)).parents if each.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{path} cannot be written: -o must be a file in a folder that can be written to")


def write_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write a .npy of the only tensor, or a .safetensors of all; ValueError for another file."""
    check_target(path, list(tensors))
    if path.suffix == ".npy":
        import numpy as np

        data = io.BytesIO()
        np.save(data, next(iter(tensors.values())).numpy())
        write_atomic(path, data.getvalue())
        return
    from safetensors.torch import save

    write_atomic(path, save({name: each.contiguous() for name, each in tensors.items()}))

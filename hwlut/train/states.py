"""Weights in .safetensors files: written whole, read back with one clear line for what does not fit."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from hwlut.arrays import refusing_safetensors
from hwlut.fields import shorten
from hwlut.files import check_regular, write_atomic

__all__ = ["load_state", "read_tensors", "save_state", "warm_start", "write_tensors"]

_DIGEST = "sha256"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], words: Mapping[str, str] | None = None) -> None:
    """Write tensors, by name, and words beside them, with a digest of all."""
    from safetensors.torch import save

    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    words = dict(words or {})
    write_atomic(path, save(held, words | {_DIGEST: _digest(held, words)}))


def read_tensors(path: Path, what: str = "state") -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file, on the CPU, and the words beside them; ValueError, naming the file, for a damaged one."""
    from safetensors import safe_open

    check_regular(path)
    try:
        with refusing_safetensors(OSError), safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            words = dict(file.metadata() or {})
    except ValueError as error:
        raise ValueError(f"{path}: {what} must be a whole .safetensors file: {error}") from None
    digest = words.pop(_DIGEST, None)
    if digest is not None and digest != _digest(tensors, words):
        raise ValueError(f"{path}: {what} must be as it was written; its digest is of another content")
    return tensors, words


def save_state(path: Path, model: nn.Module) -> None:
    """Write the model's state."""
    write_tensors(path, model.state_dict())


def load_state(path: Path, model: nn.Module) -> None:
    """Load a state that holds just what the model does; else ValueError, naming the file, and the model as it was."""
    tensors, _ = read_tensors(path)
    own = model.state_dict()
    for label, names in (("misses", own.keys() - tensors.keys()), ("has beside it", tensors.keys() - own.keys())):
        if names:
            raise ValueError(f"{path}: state must be that of this model; it {label} {shorten(sorted(names))}")
    _load(path, model, tensors)


def warm_start(model: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Take over from an earlier state what has a name and a shape that the model has too; the names of that.

    Raises ValueError, naming the file, where there is nothing.
    """
    tensors, _ = read_tensors(Path(path))
    own = model.state_dict()
    taken = {name: tensor for name, tensor in tensors.items() if name in own and tensor.shape == own[name].shape}
    if not taken:
        raise ValueError(f"{path}: state must have a tensor of this model, by name and shape; it has none")
    _load(Path(path), model, taken)
    return tuple(taken)


def _load(path: Path, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if bad:
        raise ValueError(f"{path}: state must be finite, but not {shorten(bad)}")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        model.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        model.load_state_dict(before, strict=False)
        raise ValueError(f"{path}: state must fit the model: {str(error).splitlines()[-1].strip()}") from None


def _digest(tensors: Mapping[str, torch.Tensor], words: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(words.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(repr((name, str(tensor.dtype), list(tensor.shape))).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

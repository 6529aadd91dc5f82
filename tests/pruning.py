"""Checks of what `hwlut.prune.groups` finds: what is removed must not be seen in what a model computes."""

import copy

import torch
from torch import nn

from hwlut.prune import groups

INPUTS_FIRST = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def outputs(model, sample):
    """All numbers that the model gives."""
    with torch.no_grad():
        found = (
            model(**sample)
            if isinstance(sample, dict)
            else model(*(sample if isinstance(sample, tuple) else (sample,)))
        )
    leaves = torch.utils._pytree.tree_leaves(dict(found) if hasattr(found, "keys") else found)
    return torch.cat([leaf.flatten().double() for leaf in leaves if isinstance(leaf, torch.Tensor)])


def double(sample):
    if isinstance(sample, dict):
        return {key: double(value) for key, value in sample.items()}
    if isinstance(sample, tuple):
        return tuple(double(value) for value in sample)
    return sample.double() if sample.is_floating_point() else sample


def scrambled(model, seed=0):
    """The model in float64 with parameters and statistics that are nowhere 0 or 1, so that each of them matters."""
    model = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point() and tensor.ndim:
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            width = tensor[0].numel() ** 0.5 if tensor.ndim > 1 else 1
            tensor.data.copy_((noise + 0.5) * torch.sign(noise - 0.5 if tensor.ndim > 1 else noise) / width)
    return model


def consumed(model, name):
    """The dimension of a weight over which its layer sums, None for other tensors."""
    path, _, kind = name.rpartition(".")
    layer = model.get_submodule(path)
    if kind != "weight" or isinstance(layer, nn.Embedding) or layer.weight.ndim < 2:
        return None
    if isinstance(layer, INPUTS_FIRST) or type(layer).__name__ == "Conv1D":
        return 0
    return 1


def slab(tensor, dim, places):
    return (slice(None),) * dim + (places,)


def check_removable(model, sample, found=None, share=3, summed=consumed):
    """Where nothing reads what is removed, all else that is removed may be anything: the model computes the same.

    A third of the groups of each coupling is removed. Fails too where the check itself sees nothing.
    """
    model, sample = scrambled(model), double(sample)
    found = groups(model, sample) if found is None else found
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    parts = [
        (part, state[part.tensor], (part.groups >= 0) & (part.groups % share == 0))
        for each in found
        for part in each.parts
    ]
    readers = [(part, tensor, places) for part, tensor, places in parts if summed(model, part.tensor) == part.dim]
    others = [(part, tensor, places) for part, tensor, places in parts if summed(model, part.tensor) != part.dim]
    before = {name: tensor.detach().clone() for name, tensor in state.items()}

    def disturb(factor):
        for part, tensor, places in others:
            tensor.data[slab(tensor, part.dim, places)] *= factor

    def close():
        for part, tensor, places in readers:
            tensor.data[slab(tensor, part.dim, places)] = 0

    close()
    silent = outputs(model, sample)
    disturb(1.7)
    close()
    assert torch.allclose(outputs(model, sample), silent, rtol=1e-10, atol=1e-10)
    assert silent.isfinite().all() and silent.abs().max() > 1e-6
    for name, tensor in state.items():
        tensor.data.copy_(before[name])
    heard = outputs(model, sample)
    disturb(1.7)
    assert not torch.allclose(outputs(model, sample), heard, rtol=1e-8, atol=1e-10)
    assert not torch.allclose(silent, heard, rtol=1e-8, atol=1e-10)
    return found


def table(found):
    """Size and parts of each coupling by name: tensor and dimension, with the groups in its places."""
    return {
        each.name: (each.size, {f"{part.tensor}:{part.dim}": part.groups.tolist() for part in each.parts})
        for each in found
    }

"""Networks of look-ups for tests."""

import torch

from hwlut.nn import Lookup, convert

ENCODERS = ["l2", "l1", "chebyshev", "tree"]


def quick(**options):
    """A Lookup that learns little, and at once."""
    return Lookup(refit=False, iterations=2, **options)


def converted(model, mapping, *shapes):
    """`model` with layers of look-ups, learned from random inputs of these shapes."""
    torch.manual_seed(0)
    convert(model, mapping, [tuple(torch.randn(shape) for shape in shapes) for _ in range(3)])
    return model.eval()


def awkward(layer, *shape):
    """Real inputs of `layer` with half-way cases, ends, infinities and NaN."""
    x = torch.randn(shape) * 2
    step = layer.activation_quantizer.quantize(torch.zeros(1)).step
    flat = x.view(-1)
    flat[: flat.numel() // 2] = torch.randint(-150, 150, (flat.numel() // 2,)) * 0.5 * step
    flat[-6:] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -0.0, 1e-40])
    return x


def with_ties(layer):
    """`layer`, whose last two prototypes now are also its first two."""
    with torch.no_grad():
        layer.prototypes[:, -2:] = layer.prototypes[:, :2]
    return layer

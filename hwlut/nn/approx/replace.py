"""Which layer of torch becomes which approximate layer, and back."""

from torch import nn

from hwlut.nn.approx.attention import ApproxMultiheadAttention
from hwlut.nn.approx.conv import ApproxConv1d, ApproxConv2d, ApproxConv3d
from hwlut.nn.approx.layer import ApproxLayer
from hwlut.nn.approx.linear import ApproxLinear
from hwlut.nn.approx.spec import Approximate
from hwlut.nn.approx.transposed import ApproxConvTranspose1d, ApproxConvTranspose2d, ApproxConvTranspose3d

__all__ = ["APPROXIMATE", "CONVOLUTIONS", "LAYERS", "approximated", "restored"]

_CONVOLUTIONS: tuple[type[ApproxLayer], ...] = (
    ApproxConv1d,
    ApproxConv2d,
    ApproxConv3d,
    ApproxConvTranspose1d,
    ApproxConvTranspose2d,
    ApproxConvTranspose3d,
)
_KINDS: tuple[type[ApproxLayer], ...] = (ApproxLinear, *_CONVOLUTIONS)

APPROXIMATE: tuple[type[nn.Module], ...] = (*_KINDS, ApproxMultiheadAttention)
"""The approximate layers."""

CONVOLUTIONS: tuple[type[nn.Module], ...] = tuple(kind.base for kind in _CONVOLUTIONS)
"""The convolutions of torch that can be replaced."""

LAYERS: tuple[type[nn.Module], ...] = (*(kind.base for kind in _KINDS), nn.MultiheadAttention)
"""The layers of torch that can be replaced."""


def approximated(layer: nn.Module, spec: Approximate) -> nn.Module:
    """The approximate layer with the parameters of `layer`.

    ValueError for a layer of another kind or with a forward of its own.
    """
    if isinstance(layer, nn.MultiheadAttention) and type(layer).forward is nn.MultiheadAttention.forward:
        return ApproxMultiheadAttention.of(layer, spec)
    kind = next((kind for kind in _KINDS if isinstance(layer, kind.base)), None)
    if kind is None:
        known = ", ".join(base.__name__ for base in LAYERS)
        raise ValueError(f"an approximate layer must be made of one of {known}, not {type(layer).__name__}")
    if not isinstance(layer, kind) and type(layer).forward is not kind.base.forward:
        raise ValueError(f"{type(layer).__name__} must compute as {kind.base.__name__} does, not by its own forward")
    return kind.of(layer, spec)


def restored(layer: nn.Module) -> nn.Module:
    """The layer of torch with the parameters of an approximate one."""
    assert isinstance(layer, (ApproxLayer, ApproxMultiheadAttention))
    return layer.restored()

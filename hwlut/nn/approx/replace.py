"""Which layer of torch becomes which approximate layer, and back."""

from torch import nn

from hwlut.nn.approx.attention import ApproxMultiheadAttention
from hwlut.nn.approx.conv import ApproxConv1d, ApproxConv2d, ApproxConv3d
from hwlut.nn.approx.layer import ApproxLayer
from hwlut.nn.approx.linear import ApproxLinear
from hwlut.nn.approx.matmul import ApproxMatmul
from hwlut.nn.approx.spec import Approximate
from hwlut.nn.approx.transposed import ApproxConvTranspose1d, ApproxConvTranspose2d, ApproxConvTranspose3d

__all__ = ["APPROXIMATE", "CONVOLUTIONS", "LAYERS", "approximated", "is_a", "restored"]

_CONVOLUTIONS: tuple[type[ApproxLayer], ...] = (
    ApproxConv1d,
    ApproxConv2d,
    ApproxConv3d,
    ApproxConvTranspose1d,
    ApproxConvTranspose2d,
    ApproxConvTranspose3d,
)
_KINDS: tuple[type[ApproxLayer], ...] = (ApproxLinear, *_CONVOLUTIONS)

_ATTENDING = nn.MultiheadAttention.forward, ApproxMultiheadAttention.forward

APPROXIMATE: tuple[type[nn.Module], ...] = (*_KINDS, ApproxMultiheadAttention)
"""The approximate layers that torch has a layer for."""

CONVOLUTIONS: tuple[type[nn.Module], ...] = tuple(kind.base for kind in _CONVOLUTIONS)
"""The convolutions of torch that can be replaced."""

LAYERS: tuple[type[nn.Module], ...] = (*(kind.base for kind in _KINDS), nn.MultiheadAttention, ApproxMatmul)
"""What can be replaced: layers of torch, which approximate ones count as too, and products that are approximate."""


def is_a(layer: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...]) -> bool:
    """Whether `layer` is of one of the kinds, an approximate one also of that of torch's."""
    if isinstance(layer, ApproxMultiheadAttention) and issubclass(nn.MultiheadAttention, kinds):
        return True
    return isinstance(layer, kinds)


def approximated(layer: nn.Module, spec: Approximate) -> nn.Module:
    """The approximate layer with the parameters of `layer`.

    ValueError for a layer of another kind or with a forward of its own.
    """
    if isinstance(layer, ApproxMatmul):
        options = {"activations": spec.activations, "gradient": spec.gradient, "engine": spec.engine}
        return ApproxMatmul(multiplier=spec.multiplier, **options)
    if is_a(layer, nn.MultiheadAttention) and type(layer).forward in _ATTENDING:
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

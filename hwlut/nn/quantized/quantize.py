"""Layers and products of a model become quantized ones."""

from collections.abc import Callable, Iterable, Mapping

from torch import nn

from hwlut.nn.attention import SplitAttention, dense_linear
from hwlut.nn.convert import Conversion, convert
from hwlut.nn.quantized.layers import QuantizedLayer, layer_kind
from hwlut.nn.quantized.operands import Operands
from hwlut.nn.quantized.products import PRODUCTS, QuantizedProduct, computing_products
from hwlut.quant.precision import Precision

__all__ = ["product_name", "quantize", "quantized_operations", "split_attention"]


class DenseMultiheadAttention(SplitAttention):
    """``nn.MultiheadAttention`` with four linear layers, and products, that can be replaced."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self._take(layer, dense_linear)


def split_attention(model: nn.Module) -> None:
    """Replace every ``nn.MultiheadAttention`` of `model`, in place, by a `DenseMultiheadAttention`."""
    if any(isinstance(module, nn.MultiheadAttention) for module in model.modules()):
        convert(model, {nn.MultiheadAttention: DenseMultiheadAttention})


def product_name(path: str, place: int) -> str:
    """The module path that the product at a place of the calls of the module at `path` gets."""
    return ".".join(part for part in (path, PRODUCTS, str(place)) if part)


def quantize(
    model: nn.Module,
    precisions: Mapping[str, Iterable[Precision]],
    operands: Operands | None = None,
    owners: Mapping[str, int] | None = None,
) -> Conversion:
    """Let operations of `model`, in place, quantize their operands; each starts at the first of its precisions.

    Parameters
    ----------
    precisions: of each operation, by the path of its module (a linear layer, convolution, embedding), or for a product
        of activations by `product_name`, those that there are to select from.
    operands: how; by default `Operands()`.
    owners: of modules whose own forward multiplies activations, by path, the number of products of a call.

    Parameters are the same objects. Quantizers are to be calibrated before the model is called. Raises ValueError where
    nothing is to be quantized, or an operation is none that can be; the model is then as it was.
    """
    operands, owners = operands or Operands(), dict(owners or {})
    given = {name: tuple(each) for name, each in precisions.items()}
    modules = dict(model.named_modules(remove_duplicate=False))
    products = {product_name(path, place): path for path, count in owners.items() for place in range(count)}
    layers = {name: each for name, each in given.items() if name not in products}
    if not given:
        raise ValueError("quantize precisions must name at least one operation")
    for name in layers:
        if name not in modules or layer_kind(modules[name]) is None:
            kind = f"a {type(modules[name]).__name__}" if name in modules else "none of its modules"
            raise ValueError(f"quantize operation must be a layer or a product of the model, but {name!r} is {kind}")
    for path in owners:
        if path not in modules or hasattr(modules[path], PRODUCTS):
            state = "has them already" if path in modules else "is none of its modules"
            raise ValueError(
                f"quantize owner must be a module of the model without quantized products; {path!r} {state}"
            )

    done = Conversion(())
    if layers:
        done = convert(model, {name: _maker(each, operands) for name, each in layers.items()})
    for path, count in owners.items():
        wanted = [given.get(product_name(path, place)) for place in range(count)]
        owner = modules[path]
        computing_products(owner, (None if each is None else QuantizedProduct(each, operands) for each in wanted))
    return done


def _maker(precisions: tuple[Precision, ...], operands: Operands) -> Callable[[nn.Module], nn.Module]:
    def made(layer: nn.Module) -> nn.Module:
        kind = layer_kind(layer)
        assert kind is not None
        return kind.of(layer, precisions, operands)

    return made


def quantized_operations(model: nn.Module) -> dict[str, QuantizedLayer | QuantizedProduct]:
    """The quantized layers and products of `model` by module path."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, (QuantizedLayer, QuantizedProduct))
    }

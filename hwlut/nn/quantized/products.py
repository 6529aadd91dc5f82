"""Products of two activations, which no module stands for: found as they are computed."""

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hwlut.nn.quantized.choice import FormatChoice
from hwlut.nn.quantized.operands import Operands
from hwlut.quant.precision import Precision

__all__ = ["PRODUCTS", "QuantizedProduct", "computing_products"]

PRODUCTS = "quantized_products"
"""The name under which a module holds its products."""

_FUNCTIONS = {
    *(torch.matmul, torch.bmm, torch.mm),
    *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.bmm, torch.Tensor.mm),
}
_FACTORS = ("input", "other", "mat2")
_ATTENTION = F.scaled_dot_product_attention


class QuantizedProduct(nn.Module):
    """The product of two activations, the second in the format of weights: keys, values.

    precisions: what there is to select from, at first the first. operands: options of the quantizers. `weight_choice`
    is that of the second operand, its `input_choice` that of the first.
    """

    def __init__(self, precisions: Iterable[Precision], operands: Operands):
        super().__init__()
        precisions = tuple(precisions)
        self.input_choice = FormatChoice((each.activation for each in precisions), operands.activation)
        self.weight_choice = FormatChoice(
            (each.weight for each in precisions), lambda format: operands.activation(format, -2)
        )

    @property
    def choices(self) -> tuple[FormatChoice, FormatChoice | None]:
        """Those of the second operand and the first."""
        return self.weight_choice, self.input_choice

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(self.input_choice(a), self.weight_choice(b))


def computing_products(owner: nn.Module, products: Iterable[QuantizedProduct | None]) -> None:
    """Let `owner`, from now on, compute the products of its own forward by these, in the order of its calls.

    None leaves one as it is. The owner becomes an instance of a subclass of its class, and holds the products in
    ``quantized_products``. torch's ``scaled_dot_product_attention`` counts as two: scores and context. A call with more
    products than these raises ValueError.
    """
    if isinstance(owner, _Owner):
        raise ValueError(f"{type(owner).__name__} must not have quantized products already")
    owner.quantized_products = nn.ModuleList(nn.Identity() if each is None else each for each in products)
    # torch.compile would leave a mode in the middle of a graph: what the owner computes runs as it stands.
    members = {"forward": torch.compiler.disable(_Owner.forward), "_plain": type(owner).forward}
    owner.__class__ = type(type(owner).__name__, (_Owner, type(owner)), members)


class _Owner(nn.Module):
    quantized_products: nn.ModuleList
    _plain: Callable[..., Any]

    def forward(self, *arguments: Any, **named: Any) -> Any:
        with _Products(type(self).__name__, list(self.quantized_products)):
            return self._plain(*arguments, **named)


class _Products(TorchFunctionMode):
    """Replaces the products that the innermost owner computes."""

    _inside = threading.local()

    def __init__(self, owner: str, products: list[nn.Module]):
        self._owner, self._products, self._done = owner, products, 0

    def __enter__(self) -> "_Products":
        self._outer = getattr(self._inside, "mode", None)
        self._inside.mode = self
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inside.mode = self._outer
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        factors = (*args, *(kwargs[name] for name in _FACTORS if name in kwargs)) if func in _FUNCTIONS else ()
        wanted = func is _ATTENTION or len(factors) == 2 and "out" not in kwargs and not any(map(_is_weight, factors))
        if self._inside.mode is not self or not wanted:
            return func(*args, **kwargs)
        self._inside.mode = None  # the products themselves are computed as they stand
        try:
            return self._attention(*args, **kwargs) if func is _ATTENTION else self._product(*factors)
        finally:
            self._inside.mode = self

    def _product(self, input: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if self._done == len(self._products):
            raise ValueError(f"{self._owner} must compute {self._done} products of activations in a call, not more")
        product = self._products[self._done]
        self._done += 1
        return torch.matmul(input, other) if isinstance(product, nn.Identity) else product(input, other)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """What torch's function computes, by its documentation, with products of their own."""
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = self._product(query * factor, key.transpose(-2, -1))
        if is_causal:
            if attn_mask is not None:
                raise ValueError("scaled_dot_product_attention attn_mask must be left out with is_causal")
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
        nothing = (scores == -math.inf).all(-1, keepdim=True)  # to attend to: torch then gives 0
        shares = F.softmax(scores.masked_fill(nothing, 0.0), -1).masked_fill(nothing, 0.0)
        return self._product(F.dropout(shares, dropout_p), value)


def _is_weight(operand: object) -> bool:
    """Whether it is a parameter, or a view of one."""
    return isinstance(operand, nn.Parameter) or isinstance(getattr(operand, "_base", None), nn.Parameter)

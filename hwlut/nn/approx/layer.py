"""What approximate layers have in common: quantizers, the integer definition, state, kept weights, conversion."""

import copy
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from hwlut.nn.approx.gradients import gradient_of
from hwlut.nn.approx.product import Columns, Operand, columns_of, operand, product, totals
from hwlut.nn.approx.spec import Approximate, check_quantizer
from hwlut.nn.approx.sums import Engine, Kernels, known
from hwlut.nn.kept import Kept, state_of
from hwlut.nn.real import check_real, in_float32
from hwlut.ops.forms import Form
from hwlut.quant import Quantizer
from hwlut.units import Multiplier

__all__ = ["ApproxLayer", "Multiplied", "real_and_codes", "same_as"]

_Layer = TypeVar("_Layer", bound="ApproxLayer")
_Multiplied = TypeVar("_Multiplied", bound="Multiplied")


class Multiplied(nn.Module):
    """A module that multiplies by an approximate multiplier, with a quantizer for each of its operands.

    The state also has `multiplier_digest`, uint8 [32], and one of another multiplier is refused. A state without it is
    one of torch's layer, and leaves the quantizers as they are.
    """

    activation_quantizer: Quantizer
    weight_quantizer: Quantizer

    def _take(self, spec: Approximate, activations: Quantizer, weights: Quantizer) -> None:
        assert spec.engine is not None
        self._given = spec.multiplier, spec.gradient, spec.engine
        self._gradient = gradient_of(spec.gradient, spec.multiplier)
        self._device = torch.device("cpu")
        self.activation_quantizer = activations
        self.weight_quantizer = weights
        known(spec.multiplier)

    @property
    def multiplier(self) -> Multiplier:
        """What multiplies; another one makes another layer, by `hwlut.nn.convert` or `of`."""
        return self._given[0]

    @property
    def gradient(self) -> Any:
        """What stands for its derivatives, as `Approximate` has it."""
        return self._given[1]

    @property
    def engine(self) -> Engine:
        """What computes its sums, as `Approximate` has it."""
        return self._given[2]

    def computed_by(self: _Multiplied, engine: Engine) -> _Multiplied:
        """A layer of the same parts whose sums are computed by another engine of its multiplier."""
        spec = Approximate(self.multiplier, gradient=self.gradient, engine=engine)
        new = same_as(self, type(self))
        new.__dict__["_given"] = *self._given[:2], spec.engine
        return new.train(self.training)

    @property
    def multiplier_digest(self) -> torch.Tensor:
        """The multiplier's digest as the state has it, uint8 [32]."""
        return torch.tensor(list(bytes.fromhex(self.multiplier.digest)), dtype=torch.uint8, device="cpu")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("multiplier", "gradient", "engine"):
            kind = type(self).__name__
            raise AttributeError(f"{kind} {name} must stay; hwlut.nn.convert, or `of`, makes a layer with another one")
        if name == "multiplier_digest" and _same(value, self.multiplier_digest):
            return  # so does torch.func.functional_call with a whole state
        if name in ("activation_quantizer", "weight_quantizer"):
            self._check(name, value)
        super().__setattr__(name, value)

    def _check(self, name: str, quantizer: Any) -> None:
        """Refuse what cannot be the quantizer of that name."""
        first = name == "activation_quantizer"
        label = f"{type(self).__name__} {'activations' if first else 'weights'}"
        check_quantizer(label, quantizer, self.multiplier.a if first else self.multiplier.b)

    def _apply(self, fn: Any, recurse: bool = True) -> "Multiplied":
        super()._apply(fn, recurse)
        self._device = fn(torch.empty(0, dtype=torch.uint8, device=self._device)).device
        if self._device.type != "meta":
            self._gradient = self._gradient.to(self._device)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        known(self.multiplier)

    @property
    def exact(self) -> bool:
        """Whether the forward, in training too, is the integer definition bit for bit: it always is."""
        return True

    def extra_repr(self) -> str:
        name = self.multiplier.name
        return name if isinstance(self.engine, Kernels) else f"{name}, {self.engine}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}multiplier_digest"] = self.multiplier_digest

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        given = state_dict.pop(f"{prefix}multiplier_digest", None)
        if given is None:
            own: dict[str, Any] = {}
            for name in ("activation_quantizer", "weight_quantizer"):
                getattr(self, name).state_dict(destination=own, prefix=f"{prefix}{name}.")
            state_dict.update({name: value for name, value in own.items() if name not in state_dict})
        elif not _same(given, self.multiplier_digest):
            errors = arguments[-1]
            errors.append(f"{prefix}multiplier_digest must be that of multiplier {self.multiplier.name!r}, not another")
            return
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class ApproxLayer(Multiplied):
    """A layer of torch, its base class, whose products of activations and weights are the multiplier's.

    ``y = float32(sum) * (step of x * step of w) + bias``, each operation in float32, where the sum, in integers, is
    ``sum of multiplier(cx, cw) - zw * sum of cx - zx * sum of cw + K * zx * zw`` for codes cx and cw with zero points
    zx and zw, and K products in a sum. The result has the dtype of x, or under autocast that of autocast. NaN has the
    code of zero.

    In evaluation mode the expanded weights are kept, until weight or quantizer change or `train` or `eval` is called;
    a change in place through ``.data`` is not noticed.
    """

    weight: torch.Tensor
    bias: Any
    base: ClassVar[type[nn.Module]]
    sharing: ClassVar[tuple[str, ...]] = ("tensor",)
    """What activations may have a step for."""

    def __init__(
        self,
        *arguments: Any,
        multiplier: Multiplier,
        activations: Quantizer | None = None,
        weights: Quantizer | None = None,
        gradient: Any = "ste",
        engine: Engine | None = None,
        **options: Any,
    ):
        spec = Approximate(multiplier, activations, weights, gradient, engine)
        self.base.__init__(self, *arguments, **options)
        self._make(spec)

    def _make(self, spec: Approximate) -> None:
        self._take(spec, spec.activation_quantizer(), spec.weight_quantizer())
        self.to(self.weight.device)

    def _check(self, name: str, quantizer: Any) -> None:
        super()._check(name, quantizer)
        if name == "activation_quantizer":
            _check_sharing(f"{type(self).__name__} activations", quantizer, self.sharing)
        else:
            label, axis = f"{type(self).__name__} weights", quantizer.granularity.axis
            _check_sharing(label, quantizer, ("tensor", "channel"))
            if quantizer.granularity.kind == "channel" and axis != 0:
                raise ValueError(f"{label} must have channels of axis 0, not {axis}")
        self._kept = Kept()

    def train(self: _Layer, mode: bool = True) -> _Layer:
        self._kept = Kept()
        return super().train(mode)

    @classmethod
    def of(cls: type[_Layer], layer: nn.Module, spec: Approximate) -> _Layer:
        """The approximate layer in the place of `layer`, an instance of `base`, whose parameters it takes over."""
        if isinstance(layer, ApproxLayer):
            layer = layer.restored()
        new = same_as(layer, cls)
        new._make(spec)
        return new

    def restored(self) -> nn.Module:
        """The layer of torch with this one's parameters."""
        old = same_as(self, self.base)
        for name in ("activation_quantizer", "weight_quantizer"):
            del old._modules[name]
        for name in ("_given", "_gradient", "_device", "_kept"):
            del old.__dict__[name]
        return old

    def accumulators(self, x: torch.Tensor) -> torch.Tensor:
        """Sums of ``multiplier(code of x, code of weight)``, without zero points' corrections: int32 or int64, in the
        shape of the result."""
        check_real(f"{type(self).__name__} input", x)
        with torch.no_grad():
            form, real = self._arranged(x)
            x_codes, w_codes = operand(self.activation_quantizer, real), operand(self.weight_quantizer, self._weights())
            columns = columns_of(form, True, w_codes)
            return self._shaped(totals(form, x_codes, columns, self.engine, correct=False), x)

    def _product(self, x: torch.Tensor, *choices: Any) -> torch.Tensor:
        """The layer's result on `x`."""
        check_real(f"{type(self).__name__} input", x)
        return in_float32(lambda x: self._float_product(x, *choices), x)

    def _float_product(self, x: torch.Tensor, *choices: Any) -> torch.Tensor:
        form, arranged = self._arranged(x, *choices)
        real_x, x_codes = real_and_codes(self.activation_quantizer, arranged)
        real_w, w_codes, columns = self._columns(form, x_codes.zero is None)
        y = self._shaped(product(form, (real_x, real_w), x_codes, w_codes, columns, self.engine, self._gradient), x)
        return y if self.bias is None else y + self._bias()

    def _columns(self, form: Form, x_symmetric: bool) -> tuple[torch.Tensor | None, Operand, Columns]:
        """The weights to take a gradient by, their codes, and what is kept of them."""
        quantizer = self.weight_quantizer
        if self.training or quantizer.observing or torch.compiler.is_compiling():
            real, codes = real_and_codes(quantizer, self._weights())
            return real, codes, columns_of(form, x_symmetric, codes)
        state = self.weight, *quantizer.parameters(), *quantizer.buffers()
        key = state_of(*state)
        if key is None or key != self._kept.key:
            with torch.no_grad():
                codes = operand(quantizer, self._weights())
                self._kept.value = codes, columns_of(form, x_symmetric, codes, self.engine)
                self._kept.key, self._kept.of = key, [tensor.detach() for tensor in state]
        wanted = torch.is_grad_enabled() and (self.weight.requires_grad or quantizer.learned)
        return quantizer(self._weights()) if wanted else None, *self._kept.value

    def _weights(self) -> torch.Tensor:
        """The weights as [output channels, ...]."""
        return self.weight

    def _bias(self) -> torch.Tensor:
        """The bias, float32, to be added to the result."""
        assert self.bias is not None
        return self.bias.float()

    def _arranged(self, x: torch.Tensor, *choices: Any) -> tuple[Form, torch.Tensor]:
        """The form of the layer on `x`, and `x` as the form takes it."""
        raise NotImplementedError

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The form's result as the layer's on `x`."""
        return y

    def extra_repr(self) -> str:
        return f"{self.base.extra_repr(self)}, {super().extra_repr()}"


def real_and_codes(quantizer: Quantizer, x: torch.Tensor) -> tuple[torch.Tensor | None, Operand]:
    """`x` quantized and dequantized, where a gradient is to go through it, and its codes; observed as in a forward."""
    real = None
    if torch.is_grad_enabled() and (x.requires_grad or quantizer.learned):
        real = quantizer(x)
    else:
        quantizer.follow(x)
    with torch.no_grad():
        return real, operand(quantizer, x)


def _same(given: Any, digest: torch.Tensor) -> bool:
    return isinstance(given, torch.Tensor) and (given.is_meta or torch.equal(given.cpu(), digest))


def _check_sharing(label: str, quantizer: Quantizer, kinds: tuple[str, ...]) -> None:
    if quantizer.granularity.kind not in kinds:
        raise ValueError(f"{label} must have a step for each {' or '.join(kinds)}, not {quantizer.granularity.kind}")


def same_as(layer: nn.Module, kind: type[Any]) -> Any:
    """A module of another kind with all that `layer` holds."""
    new = object.__new__(kind)
    new.__dict__ = {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(layer).items()}
    return new

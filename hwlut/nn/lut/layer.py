"""What layers of look-ups have in common: numbers, the integer definition, learning from data, state."""

from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from hwlut.codebooks.reservoir import Reservoir
from hwlut.fixed import Fixed
from hwlut.nn.kept import Kept, state_of
from hwlut.nn.lut.learn import learn
from hwlut.nn.lut.soft import Rows, looked_up, soft_leaves, soft_nearest
from hwlut.nn.lut.spec import Lookup
from hwlut.nn.real import check_real, in_float32
from hwlut.ops import LutTables, lut_encode, lut_matmul, quantize_codes
from hwlut.quant import Quantizer
from hwlut.units import Encoder, LutMatmul, Requantize

__all__ = ["LutLayer"]

_Layer = TypeVar("_Layer", bound="LutLayer")
_BIAS = 1 << 30


class Integers(NamedTuple):
    """A layer's numbers as its unit has them, and the step of its sums: one, or one an output."""

    numbers: torch.Tensor
    table: torch.Tensor
    bias: torch.Tensor | None
    zero_point: int
    step: torch.Tensor


class LutLayer(nn.Module):
    """A layer whose products are looked up: a `LutMatmul` on the codes of its input rows.

    ``y = float32(unit(codes)) * step`` with the step of the table's entries, one or one an output, bit for bit in
    training too; the bias is a part of the unit, rounded to whole steps. The gradient is that of a soft choice
    (`hwlut.nn.lut.soft`), straight through the hard one and all rounding.

    Made by `hwlut.nn.convert` with data, which shows the layer the inputs of the dense one; or filled by
    `load_state_dict`. Before that it cannot be called.

    Members
    -------
    lookup: the `Lookup`. features, outputs, codebooks, v: as of the unit.
    prototypes: parameter [C, K, v]; or thresholds: parameter [C, K - 1], and dimensions: int64 [C, log2 K].
    table: parameter [C, K, M]; or where it is tied, weight: parameter [M, features].
    bias: parameter [M], or None.
    temperature: parameter, one number t; the soft choice is by ``exp(t) / spread`` times the distances.
    spread: float32, the mean distance at the start, NaN before it is known.
    activation_quantizer, table_quantizer: `Quantizer`.
    """

    base: ClassVar[type[nn.Module]]
    dense: Any
    prototypes: torch.Tensor
    thresholds: torch.Tensor
    dimensions: torch.Tensor
    table: torch.Tensor
    weight: torch.Tensor
    bias: Any
    spread: torch.Tensor
    activation_quantizer: Quantizer
    table_quantizer: Quantizer

    def __init__(self, lookup: Lookup, features: int, outputs: int, v: int, bias: bool, device: Any = None):
        super().__init__()
        if not isinstance(lookup, Lookup):
            raise TypeError(f"{type(self).__name__} lookup must be a Lookup, not {type(lookup).__name__}")
        self.lookup, self.features, self.outputs, self.v = lookup, features, outputs, v
        self.codebooks = -(-features // v)
        c, k = self.codebooks, lookup.k

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, device=device))

        if self.tree:
            self.thresholds = parameter(c, k - 1)
            self.register_buffer("dimensions", torch.zeros(c, k.bit_length() - 1, dtype=torch.int64, device=device))
        else:
            self.prototypes = parameter(c, k, v)
        if lookup.tied:
            self.weight = parameter(outputs, features)
        else:
            self.table = parameter(c, k, outputs)
        self.bias = parameter(outputs) if bias else None
        self.temperature = parameter()
        self.register_buffer("spread", torch.full((), torch.nan, device=device))
        self.activation_quantizer = lookup.activation_quantizer().to(device)
        self.table_quantizer = lookup.table_quantizer().to(device)
        self.calibrated = self.reached = False
        self._seen: Reservoir | None = None
        self._kept = Kept()
        self.__dict__["dense"] = None

    @classmethod
    def like(cls: type[_Layer], dense: Any, lookup: Lookup) -> _Layer:
        """One of the sizes of `dense`, a layer of torch."""
        raise NotImplementedError

    @classmethod
    def of(cls: type[_Layer], dense: Any, lookup: Lookup) -> _Layer:
        """The layer in the place of `dense`, from which calibration makes it; until then it keeps `dense`, outside its
        modules."""
        made = cls.like(dense, lookup)
        made.__dict__["dense"] = dense
        return made

    @property
    def tree(self) -> bool:
        """Whether the encoder is a tree."""
        return self.lookup.encoder == "tree"

    @property
    def exact(self) -> bool:
        """Whether the forward, in training too, is the unit bit for bit: it always is."""
        return True

    @property
    def calibrates(self) -> bool:
        """Whether there is a dense layer to learn from."""
        return self.dense is not None

    def start(self) -> None:
        """Compute as the dense layer does, and keep input rows, until `freeze`."""
        self.reached = False
        self._seen = Reservoir(self.lookup.rows, self.lookup.seed)

    def settle(self) -> None:
        """Learn from the rows that were kept: from here on, products are looked up.

        Raises ValueError for rows that are not finite or fewer than the prototypes.
        """
        assert self._seen is not None
        rows = self._seen.rows()
        weight = self.dense.weight.detach().flatten(1).float()
        learned = learn(rows, weight, self.lookup, self.v, self.activation_quantizer)
        with torch.no_grad():
            (self.thresholds if self.tree else self.prototypes).copy_(learned.numbers)
            if learned.dimensions is not None:
                self.dimensions.copy_(learned.dimensions)
            if self.lookup.tied:
                self.weight.copy_(weight)
            else:
                self.table.copy_(learned.table)
            if self.bias is not None:
                self.bias.copy_(self.dense.bias.detach())
            self.spread.copy_(learned.spread)
        self.calibrated = True
        self.__dict__["dense"] = None

    def freeze(self) -> None:
        """Forget the rows that were kept."""
        self._seen = None

    def train(self: _Layer, mode: bool = True) -> _Layer:
        self._kept = Kept()
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_real(f"{type(self).__name__} input", x)
        if self.calibrated:
            return in_float32(self._product, x)
        if self._seen is None:
            raise RuntimeError(f"{type(self).__name__} must be calibrated first, by hwlut.nn.convert with data")
        self.activation_quantizer.follow(x)
        self._seen.take(self._rows(self._padded(x.detach(), 0.0)).float())
        self.reached = True
        return self.dense(x)

    def indices(self, x: torch.Tensor) -> torch.Tensor:
        """The prototype of each sub-vector of each row of `x`, uint8 [rows, C]."""
        with torch.no_grad():
            tables, _ = self._tables()
            return lut_encode(self._codes(x), tables)

    def accumulators(self, x: torch.Tensor) -> torch.Tensor:
        """The unit's sums of each row of `x`, int32 [rows, M]."""
        with torch.no_grad():
            tables, _ = self._tables()
            return lut_matmul(self._codes(x), tables)

    def unit(self, name: str | None = None, output: Quantizer | None = None) -> LutMatmul:
        """The unit as it now is, by default named ``lut``; its results are sums in whole steps (`sum_step`).

        With `output`, a quantizer of one static step, results are the codes of that instead: a Requantize follows, of
        the ratio of the steps, whose half-way cases round up.
        """
        found = self._integers()
        fields: dict[str, Any] = {"prototypes": found.numbers.cpu().numpy()}
        if self.tree:
            fields = {"thresholds": found.numbers.cpu().numpy(), "dimensions": self.dimensions.cpu().numpy()}
        unit = LutMatmul(
            name=name or "lut",
            encoder=Encoder(self.lookup.encoder),
            features=self.features,
            v=self.v,
            zero_point=found.zero_point,
            table=found.table.cpu().numpy(),
            table_bits=self.lookup.table_bits,
            bias=None if found.bias is None else found.bias.cpu().numpy(),
            **fields,
        )
        if output is None:
            return unit
        out = output.quantize(torch.zeros(1))
        ratios = (found.step.double().cpu() / out.step.double().cpu()).flatten().tolist()
        after = Requantize.from_ratios(
            ratios, input=Fixed(max(2, unit.accumulator.bits)), zero_point=int(out.zero_point), output=output.format
        )
        return unit.replace(requantize=after)

    def sum_step(self) -> torch.Tensor:
        """What one step of the unit's sums stands for: float32, one number, or [M] where each output has its own."""
        return self._integers().step

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        self.activation_quantizer.follow(x)
        parameters = (x, *self.parameters())
        if not (torch.is_grad_enabled() and any(each.requires_grad for each in parameters)):
            tables, step = self._tables()
            return self._shaped(lut_matmul(self._codes(x), tables) * step, x)
        real = self._padded(self.activation_quantizer.quantized(x), 0.0)
        rows = Rows(lambda x: self._sub_vectors(self._rows(x)), lambda g: self._joined(g, real.shape))
        numbers = self.activation_quantizer.quantized(self.thresholds if self.tree else self.prototypes)
        table = self.table_quantizer.quantized(self._table(numbers))
        sharpness = self.temperature.exp() / self.spread

        def hard() -> torch.Tensor:
            tables, step = self._tables()
            return lut_matmul(self._codes(x), tables) * step

        return self._shaped(looked_up(hard, self._soft, rows, real, numbers, sharpness, table, self.bias), x)

    def _soft(self, x: torch.Tensor, numbers: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
        if self.tree:
            return soft_leaves(x, numbers, self.dimensions, sharpness)
        return soft_nearest(x, numbers, sharpness, self.lookup.encoder)

    def _table(self, numbers: torch.Tensor) -> torch.Tensor:
        """The table in real numbers [C, K, M]; where it is tied, of these prototypes."""
        if not self.lookup.tied:
            return self.table
        return numbers @ self._sub_vectors(self.weight).permute(1, 2, 0)

    def _integers(self) -> Integers:
        if not self.calibrated:
            raise RuntimeError(f"{type(self).__name__} must be calibrated first, by hwlut.nn.convert with data")
        with torch.no_grad():
            quantizer = self.activation_quantizer
            numbers, _, zero_point = quantizer.quantize(self.thresholds if self.tree else self.prototypes)
            table, step, _ = self.table_quantizer.quantize(self._table(quantizer.values(numbers)))
            step, bias = step.flatten() if step.dim() else step, None
            if self.bias is not None:
                bias = torch.round(self.bias / step).clamp(-_BIAS, _BIAS).to(torch.int32)
            return Integers(numbers.to(torch.int8), table.to(torch.int8), bias, int(zero_point), step)

    def _tables(self) -> tuple[LutTables, torch.Tensor]:
        """What the operators take, and the step of their sums; kept in evaluation until the state changes."""
        state = [*self.parameters(), *self.buffers()]
        key = None if self.training else state_of(*state)
        if key is None or key != self._kept.key:
            found = self._integers()
            tables = LutTables(
                encoder=Encoder(self.lookup.encoder),
                features=self.features,
                v=self.v,
                zero_point=found.zero_point,
                prototypes=None if self.tree else found.numbers,
                thresholds=found.numbers if self.tree else None,
                dimensions=self.dimensions.int() if self.tree else None,
                table=found.table,
                bias=found.bias,
            )
            self._kept.value = tables, found.step
            self._kept.key, self._kept.of = key, [tensor.detach() for tensor in state]
        return self._kept.value

    def _codes(self, x: torch.Tensor) -> torch.Tensor:
        """int8 codes of the rows of `x`, [rows, features]."""
        _, step, zero_point = self.activation_quantizer.quantize(x.new_empty(0))
        if x.dtype == torch.float64:
            codes = self.activation_quantizer.codes(x).to(torch.int8)
        else:
            codes = quantize_codes(x.detach().float(), step, zero_point)
        return self._rows(self._padded(codes, int(zero_point)))

    def _sub_vectors(self, rows: torch.Tensor) -> torch.Tensor:
        """[rows, features] as [rows, C, v], with zeros in the end."""
        return F.pad(rows, (0, self.codebooks * self.v - self.features)).unflatten(1, (self.codebooks, self.v))

    def _padded(self, x: torch.Tensor, zero: float) -> torch.Tensor:
        """`x`, real numbers or codes, with `zero` where the layer pads."""
        raise NotImplementedError

    def _rows(self, padded: torch.Tensor) -> torch.Tensor:
        """A padded input as [rows, features]."""
        raise NotImplementedError

    def _joined(self, g: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """From a gradient of the rows, [C, v, rows], to that of the padded input of this shape."""
        raise NotImplementedError

    def _shaped(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """[rows, M] as the layer's result on `x`."""
        raise NotImplementedError

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self.calibrated = not (self.spread.is_meta or bool(self.spread.isnan()))
        if self.calibrated:
            self.__dict__["dense"] = None

    def extra_repr(self) -> str:
        return f"{self.features} to {self.outputs}, v={self.v}, {self.lookup.words()}"

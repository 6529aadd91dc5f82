"""Training whose forward is the integer program, bit for bit."""

import copy
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from hwlut.lowering.lowering import VALUE_BITS, Lowered, Lowering
from hwlut.nn.kept import Kept, state_of
from hwlut.nn.quantized.choice import FormatChoice
from hwlut.program.engine import Engine
from hwlut.program.ports import decoded, encoded
from hwlut.units import Program
from hwlut.units.requantize import MULTIPLIER_BITS

__all__ = ["Simulation"]


class Simulation(nn.Module):
    """`model` computed by the program that it is at the moment, in training too.

    A forward lowers the model's parameters, as they are now, to a program, runs that on the codes of its inputs, and
    gives what its results stand for. In the model's own forward every value that the program has takes the program's
    place, so that gradients are those of the layers (straight through all rounding) at the numbers of the hardware.
    Normalization of batches is folded: it is by the statistics that were kept; dropout is left out.

    Parameters
    ----------
    model, sample, factor_bits, value_bits: as for `hwlut.export`. The parameters are the model's own.

    `program` is what `hwlut.export` would make of the model now, with the formats of this sample.
    """

    exact = True
    lowering: Lowering
    _kept: Kept

    def __init__(self, model: nn.Module, sample: Any, factor_bits: int = MULTIPLIER_BITS, value_bits: int = VALUE_BITS):
        super().__init__()
        self.model = model
        self.lowering = Lowering(model, sample, factor_bits, value_bits)
        self._kept = Kept()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Simulation":
        other = Simulation.__new__(Simulation)
        nn.Module.__init__(other)
        memo[id(self)] = other
        other.model = copy.deepcopy(self.model, memo)
        other.lowering = self.lowering.of(other.model)
        other._kept = Kept()
        return other.train(self.training)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("Simulation cannot be pickled; keep its model's state_dict, or save its program")

    @property
    def program(self) -> Program:
        """The program of the model as it is now."""
        return self._lowered().program

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the model returns, flattened: a tensor, or a tuple. It is called as the model is with the sample."""
        inputs = self.lowering.tensors((arguments, named))
        lowered, engine = self._lowered(), self._engine(inputs[0].device)
        program, numbers = lowered.program, lowered.numbers
        codes = [encoded(port, each) for port, each in zip(program.inputs, inputs)]
        results = {port.name for port in program.outputs}
        held = engine.values(*codes, keep=results | {number.name for number in numbers.values()})

        def settle(name: str, value: torch.Tensor) -> torch.Tensor:
            number = numbers.get(name)
            return value if number is None else _Settled.apply(value, number.real(held[number.name]).to(value.dtype))

        given = [settle(name, each) for name, each in zip(self.lowering.inputs, inputs)]
        values = self.lowering.real(given, settle)
        ends = zip(self.lowering.outputs, program.outputs)
        outputs = [_Settled.apply(values[name], decoded(port, held[port.name])) for name, port in ends]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _lowered(self) -> Lowered:
        if not self.lowering.current:
            before = self.lowering
            self.lowering = Lowering(self.model, before.sample, before.factor_bits, before.value_bits)
            self._kept = Kept()
        state = [*self.model.parameters(), *self.model.buffers()]
        choices = [each for each in self.model.modules() if isinstance(each, FormatChoice)]
        found = state_of(*state)
        key = None if found is None else (found, [(each.selected, each.shares is None) for each in choices])
        if key is None or key != self._kept.key:
            self._kept = Kept()
            self._kept.value, self._kept.key = (self.lowering.lowered(), {}), key
            self._kept.of = [tensor.detach() for tensor in state]
        return self._kept.value[0]

    def _engine(self, device: torch.device) -> Engine:
        lowered, engines = self._kept.value
        if device not in engines:
            engines[device] = Engine(lowered.program, device)
        return engines[device]


class _Settled(torch.autograd.Function):
    """The second number, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, settled: torch.Tensor) -> torch.Tensor:
        return settled.expand(value.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None
